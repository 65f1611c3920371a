/** What can be done with a run in its state: pause, go on, end, fork, rename, remove. */
import { useState } from "react";

import type { Run, Started } from "../../api/types";
import { Confirmed, Dialog } from "../../kit/dialog";
import { Button, Field } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { useTell } from "../../kit/toast";
import { useMay } from "../../shell/me";
import { address, useChange } from "./asking";
import { ForkDialog } from "./fork";

const OVER = ["succeeded", "failed", "cancelled"];

function Rename({ run, onClose }: { run: Run; onClose: () => void }) {
  const [name, setName] = useState(run.name);
  const [tags, setTags] = useState(run.tags.join(", "));
  const change = useChange<{ name: string; tags: string[] }>("PATCH", address(run.id), onClose);
  return (
    <Dialog open onClose={onClose} title="Name and tags">
      <form className="stack" onSubmit={(e) => { e.preventDefault(); change.mutate({ name, tags: tags.split(",").map((t) => t.trim()).filter((t) => t !== "") }); }}>
        <Field name="Name">{(ids) => <input {...ids} className="input" required maxLength={200} value={name} onChange={(e) => { setName(e.target.value); }} />}</Field>
        <Field name="Tags" help="separated by commas">{(ids) => <input {...ids} className="input" value={tags} onChange={(e) => { setTags(e.target.value); }} />}</Field>
        {change.isError ? <Fault error={change.error} /> : null}
        <div className="row"><Button kind="primary" type="submit" busy={change.isPending}>Save</Button><Button onClick={onClose}>Cancel</Button></div>
      </form>
    </Dialog>
  );
}

/** A button that asks the server for a change of state; a refusal is told. */
function Steer({ run, verb, label }: { run: Run; verb: "pause" | "resume"; label: string }) {
  const tell = useTell();
  const change = useChange("POST", address(run.id, `/${verb}`));
  return <Button busy={change.isPending} onClick={() => { change.mutate(undefined, { onError: (error) => { tell("bad", error.message); } }); }}>{label}</Button>;
}

export function Actions({ run, onGone, onFork }: { run: Run; onGone: () => void; onFork: (id: string) => void }) {
  const tell = useTell();
  const may = useMay("member");
  const [open, setOpen] = useState<"fork" | "rename" | null>(null);
  const cancel = useChange("POST", address(run.id, "/cancel"));
  const remove = useChange("DELETE", address(run.id), onGone);
  const refused = { onError: (error: Error) => { tell("bad", error.message); } };
  const isOver = OVER.includes(run.state);
  const close = () => { setOpen(null); };
  if (!may) return null;
  return (
    <>
      {run.state === "running" || run.state === "queued" ? <Steer run={run} verb="pause" label="Pause" /> : null}
      {["paused", "failed", "cancelled"].includes(run.state) ? <Steer run={run} verb="resume" label={run.state === "paused" ? "Resume" : "Try again"} /> : null}
      <Button onClick={() => { setOpen("fork"); }}>Fork</Button>
      <Button onClick={() => { setOpen("rename"); }}>Rename</Button>
      {isOver
        ? <Confirmed label="Delete" question={`Remove ${run.name} from the lists?`} detail={<p>Its folder stays: <code className="wrap">{run.out}</code></p>} busy={remove.isPending} onYes={() => { remove.mutate(undefined, refused); }} />
        : <Confirmed label="Cancel" question={`End ${run.name}?`} detail={<p>What it has saved stays; it can be tried again from its last checkpoint.</p>} busy={cancel.isPending} onYes={() => { cancel.mutate(undefined, refused); }} />}
      {open === "fork" ? <ForkDialog run={run} onClose={close} onMade={(answer) => { close(); onFork((answer as Started).run.id); }} /> : null}
      {open === "rename" ? <Rename run={run} onClose={close} /> : null}
    </>
  );
}
