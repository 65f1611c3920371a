/** What a run leaves: its log, checkpoints, answers during training, files, settings. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Link } from "react-router";

import { get } from "../../api/http";
import type { Artifact, Checkpoint, List, Run } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Copy } from "../../kit/copy";
import { Empty, Panel, Tag } from "../../kit/parts";
import { Table } from "../../kit/table";
import { ago, bytes, count } from "../../kit/words";
import { useMay } from "../../shell/me";
import { address, isLive, useNotes, useOf } from "./asking";
import type { Feed } from "./feed";

const LINES = 2000; // kept of a log; the whole is in the run's folder
const LOG_MS = 1500;

interface Tail {
  text: string;
  next: number;
}

/** Read on from where the log was read to; the server gives it in parts. */
async function readOn(run: string, before: Tail, signal: AbortSignal): Promise<Tail> {
  let { text, next } = before;
  for (;;) {
    const part = await get<Tail>(address(run, `/log?after=${String(next)}`), signal);
    text = (text + part.text).split("\n").slice(-LINES).join("\n");
    if (part.next === next) return { text, next };
    next = part.next;
  }
}

export function Log({ run }: { run: Run }) {
  const kept = useRef<Tail>({ text: "", next: 0 });
  const place = useRef<HTMLPreElement>(null);
  const log = useQuery({
    queryKey: ["run", run.id, "log", isLive(run)],
    queryFn: async ({ signal }) => { kept.current = await readOn(run.id, kept.current, signal); return kept.current; },
    refetchInterval: isLive(run) ? LOG_MS : false,
    gcTime: 0,
  });
  useEffect(() => { const box = place.current; if (box !== null) box.scrollTop = box.scrollHeight; }, [log.data]);
  return (
    <Panel title="Log of the worker">
      <Loaded query={log}>
        {({ text }) => (text === "" ? <Empty title="The worker has written nothing">It writes here only what is out of the ordinary.</Empty>
          : <pre ref={place} className="code tail" role="log" aria-label="log" tabIndex={0}>{text}</pre>)}
      </Loaded>
    </Panel>
  );
}

export function Notes({ feed }: { feed: Feed }) {
  const notes = useNotes(feed);
  if (notes.length === 0) return null;
  return (
    <Panel title="What happened">
      <ul className="notes">
        {notes.toReversed().map((note) => (
          <li key={note.id}>
            <time className="small soft num" dateTime={new Date(1000 * note.time).toISOString()}>{new Date(1000 * note.time).toLocaleTimeString()}</time>
            <Tag tone={note.tone}>{({ info: "note", warn: "warning", bad: "error", good: "done" })[note.tone]}</Tag>
            <span className="wrap">{note.text}</span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

export function Checkpoints({ run }: { run: Run }) {
  const found = useOf<List<Checkpoint>>(run, "checkpoints");
  return (
    <Loaded query={found}>
      {({ items }) => (
        <Table
          label="Checkpoints" rows={items} id={(one) => one.name} empty={<Empty title="There is no checkpoint yet" />}
          columns={[
            { name: "Checkpoint", show: (one) => <code>{one.name}</code> }, { name: "Step", number: true, show: (one) => count(one.step) },
            { name: "Size", number: true, show: (one) => bytes(one.bytes) }, { name: "Saved", show: (one) => ago(one.created) },
          ]}
        />
      )}
    </Loaded>
  );
}

interface Sample {
  step: number;
  prompt: string;
  answer: string;
  tokens: number;
}

/** What the model answered after a step; the slider goes from sample to sample. */
export function Samples({ run }: { run: Run }) {
  const found = useOf<List<Sample>>(run, "samples");
  const [at, setAt] = useState<number | null>(null); // null: the newest, also when another one comes
  return (
    <Loaded query={found}>
      {({ items }) => {
        const steps = [...new Set(items.map((one) => one.step))];
        const step = steps[at ?? steps.length - 1];
        if (step === undefined) return <Empty title="No answers were written down">Name questions in trainer.samples.prompts, and the model is asked them while it trains.</Empty>;
        return (
          <Panel title={`Answers after step ${count(step)}`}>
            <label className="row">
              <span className="small soft">Step</span>
              <input type="range" aria-label="step of the answers" aria-valuetext={`step ${count(step)}`} min={0} max={steps.length - 1} value={at ?? steps.length - 1} onChange={(e) => { const to = Number(e.target.value); setAt(to === steps.length - 1 ? null : to); }} />
            </label>
            <Table
              label="Answers" rows={items.filter((one) => one.step === step)} id={(one) => one.prompt} empty={<Empty title="No answers" />}
              columns={[
                { name: "Question", show: (one) => <span className="wrap">{one.prompt}</span> },
                { name: "Answer", show: (one) => <span className="wrap">{one.answer}</span> },
                { name: "Tokens", number: true, show: (one) => count(one.tokens) },
              ]}
            />
          </Panel>
        );
      }}
    </Loaded>
  );
}

function file(run: Run, name: string): string {
  return address(run.id, `/artifacts/${name.split("/").map(encodeURIComponent).join("/")}`);
}

export function Artifacts({ run }: { run: Run }) {
  const found = useOf<List<Artifact>>(run, "artifacts");
  const may = useMay("member");
  return (
    <Loaded query={found}>
      {({ items }) => (
        <div className="stack">
          <div className="row">
            {items.some((one) => one.name.endsWith("report.html")) ? <a className="button" href={address(run.id, "/report")} download>Download the report</a> : null}
            {may && run.state === "succeeded" ? <><Link className="button" to={`/playground?model=${encodeURIComponent(run.id)}`}>Talk to it</Link><Link className="button" to={`/evaluate?model=${encodeURIComponent(run.id)}`}>Evaluate it</Link></> : null}
          </div>
          <Table
            label="Files of the run" rows={items} id={(one) => one.name} empty={<Empty title="The run has made no files yet">The trained model and the report are written at the end.</Empty>}
            columns={[
              { name: "File", show: (one) => <a className="wrap" href={file(run, one.name)} download>{one.name}</a> },
              { name: "Size", number: true, show: (one) => bytes(one.bytes) }, { name: "Made", show: (one) => ago(one.created) },
            ]}
          />
        </div>
      )}
    </Loaded>
  );
}

export function Config({ run }: { run: Run }) {
  const found = useQuery({ queryKey: ["run", run.id, "config"], queryFn: ({ signal }) => get<{ yaml: string }>(address(run.id, "/config"), signal) });
  const may = useMay("member");
  return (
    <Loaded query={found}>
      {({ yaml }) => (
        <Panel title="Recipe" actions={<>{may ? <Link className="button small" to={`/train?from=${encodeURIComponent(run.id)}`}>Use for a new run</Link> : null}<Copy text={yaml} /></>}>
          <pre className="code" tabIndex={0} aria-label="recipe as YAML">{yaml}</pre>
        </Panel>
      )}
    </Loaded>
  );
}
