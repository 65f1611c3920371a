/** Bring in a file: dropped here or chosen; how much has arrived is shown, and it can be done with the keyboard. */
import { useRef, useState, type DragEvent } from "react";
import { useNavigate } from "react-router";

import { Button, Panel } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { Progress } from "../../kit/state";
import { useTell } from "../../kit/toast";
import { bytes } from "../../kit/words";
import { useUpload } from "./queries";

const SUFFIXES = ".jsonl,.ndjson,.json,.csv,.tsv,.parquet,.pq,.txt,.text,.md";

function stem(file: File): string {
  return file.name.replace(/\.[^.]+$/, "");
}

function useFiles() {
  const [now, setNow] = useState<File | null>(null);
  const [share, setShare] = useState(0);
  const sending = useUpload(setShare);
  const tell = useTell();
  const go = useNavigate();
  const take = async (files: File[]) => {
    try {
      for (const file of files) {
        setNow(file);
        setShare(0);
        const made = await sending.mutateAsync({ file, name: stem(file) });
        tell("good", `${made.name} was brought in`);
        if (files.length === 1) await go(`/datasets/${encodeURIComponent(made.id)}`);
      }
    } catch {
      // shown below the place it was dropped on
    } finally {
      setNow(null);
    }
  };
  return { now, share, take, fault: sending.error };
}

export function Upload() {
  const { now, share, take, fault } = useFiles();
  const [over, setOver] = useState(false);
  const chooser = useRef<HTMLInputElement>(null);
  const busy = now !== null;
  const drop = (e: DragEvent) => {
    e.preventDefault();
    setOver(false);
    if (!busy) void take([...e.dataTransfer.files]);
  };
  return (
    <Panel label="Bring in a data set">
      <div className={over ? "drop over" : "drop"} onDragOver={(e) => { e.preventDefault(); setOver(true); }} onDragLeave={() => { setOver(false); }} onDrop={drop}>
        <input
          ref={chooser} type="file" hidden multiple accept={SUFFIXES} data-testid="file" aria-label="Files of rows"
          onChange={(e) => { void take([...(e.target.files ?? [])]); e.target.value = ""; }}
        />
        <p><strong>Drop files here</strong>, or</p>
        <Button kind="primary" busy={busy} onClick={() => chooser.current?.click()}>Choose files</Button>
        <p className="small soft">JSON lines, JSON, CSV, TSV, Parquet or plain text</p>
      </div>
      {now === null ? null : (
        <Progress label={`Bringing in ${now.name}`} share={share} text={share < 1 ? `${bytes(share * now.size)} of ${bytes(now.size)}` : "arrived; reading the rows"} />
      )}
      {fault === null ? null : <Fault error={fault} />}
    </Panel>
  );
}
