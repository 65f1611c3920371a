/** A new run by this one's recipe, with some settings changed, from its beginning or from a checkpoint. */
import { useState } from "react";

import type { Checkpoint, List, Run } from "../../api/types";
import { Dialog } from "../../kit/dialog";
import { Button, Field } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { count } from "../../kit/words";
import { address, useChange, useOf } from "./asking";

interface Change {
  key: string;
  value: string;
}
const USUAL = ["trainer.lr", "trainer.epochs", "trainer.seed", "trainer.batch_tokens", "adapter.r", "adapter.alpha", "data.max_length", "data.path", "model.path"];

/** What was typed as the value it means: numbers, true, false and null; anything else is text. */
function meant(text: string): unknown {
  if (["true", "false", "null"].includes(text)) return JSON.parse(text) as unknown;
  const value = Number(text);
  return text.trim() !== "" && Number.isFinite(value) ? value : text;
}

export function ForkDialog({ run, onClose, onMade }: { run: Run; onClose: () => void; onMade: (answer: unknown) => void }) {
  const [name, setName] = useState(`${run.name} (fork)`);
  const [changes, setChanges] = useState<Change[]>([{ key: "trainer.lr", value: "" }]);
  const [from, setFrom] = useState("");
  const saved = useOf<List<Checkpoint>>(run, "checkpoints").data?.items ?? [];
  const fork = useChange<{ name: string; step: number | null; changes: Record<string, unknown> }>("POST", address(run.id, "/fork"), onMade);
  const edit = (at: number, part: Partial<Change>) => { setChanges((now) => now.map((one, i) => (i === at ? { ...one, ...part } : one))); };
  const given = changes.filter(({ key, value }) => key.trim() !== "" && value.trim() !== "");
  return (
    <Dialog open onClose={onClose} title={`Fork ${run.name}`}>
      <form className="stack" onSubmit={(e) => { e.preventDefault(); fork.mutate({ name, step: from === "" ? null : Number(from), changes: Object.fromEntries(given.map(({ key, value }) => [key.trim(), meant(value.trim())])) }); }}>
        <p className="soft">A new run by the same recipe with these settings changed. From a checkpoint it takes weights, optimizer and place in the data along.</p>
        <Field name="Name">{(ids) => <input {...ids} className="input" required maxLength={200} value={name} onChange={(e) => { setName(e.target.value); }} />}</Field>
        <Field name="From">
          {(ids) => (
            <select {...ids} className="input" value={from} onChange={(e) => { setFrom(e.target.value); }}>
              <option value="">the beginning</option>
              {saved.map(({ step }) => <option key={step} value={step}>step {count(step)}</option>)}
            </select>
          )}
        </Field>
        <datalist id="fork-keys">{USUAL.map((key) => <option key={key} value={key} />)}</datalist>
        {changes.map(({ key, value }, at) => (
          <div className="filters" key={at}>
            <Field name="Setting">{(ids) => <input {...ids} className="input mono" list="fork-keys" value={key} onChange={(e) => { edit(at, { key: e.target.value }); }} />}</Field>
            <Field name="New value">{(ids) => <input {...ids} className="input mono" value={value} onChange={(e) => { edit(at, { value: e.target.value }); }} />}</Field>
            <Button small aria-label={`remove the change of ${key}`} onClick={() => { setChanges((now) => now.filter((_, i) => i !== at)); }}>×</Button>
          </div>
        ))}
        <div><Button small onClick={() => { setChanges((now) => [...now, { key: "", value: "" }]); }}>Change another setting</Button></div>
        {fork.isError ? <Fault error={fork.error} /> : null}
        <div className="row"><Button kind="primary" type="submit" busy={fork.isPending}>Start the fork</Button><Button onClick={onClose}>Cancel</Button></div>
      </form>
    </Dialog>
  );
}
