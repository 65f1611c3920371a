/** Name, models, limits, budgets and end of a key. An empty field is no limit. */
import { useState } from "react";

import { useChange } from "../../api/change";
import { send } from "../../api/http";
import type { Key } from "../../api/types";
import { Dialog } from "../../kit/dialog";
import { Button, Field } from "../../kit/parts";
import { Fault } from "../../kit/problem";

type Numbers = "rpm" | "tpm" | "concurrency" | "daily_usd" | "monthly_usd" | "days";
const FIELDS: { key: Numbers; name: string; step: string }[] = [
  { key: "rpm", name: "Requests per minute", step: "1" },
  { key: "tpm", name: "Tokens per minute", step: "1" },
  { key: "concurrency", name: "Requests at once", step: "1" },
  { key: "daily_usd", name: "US dollars a day", step: "any" },
  { key: "monthly_usd", name: "US dollars a month", step: "any" },
  { key: "days", name: "Ends after days", step: "1" },
];

type Texts = Record<Numbers, string>;

function textsOf(key: Key | null): Texts {
  const text = (value: number | null | undefined) => (value === null || value === undefined ? "" : String(value));
  return { rpm: text(key?.rpm), tpm: text(key?.tpm), concurrency: text(key?.concurrency), daily_usd: text(key?.daily_usd), monthly_usd: text(key?.monthly_usd), days: "" };
}

function bodyOf(texts: Texts, models: string, of: Key | null): Record<string, unknown> {
  const named = models.split(/[\s,]+/).filter((m) => m !== "");
  // The end of a key stays as it is unless a new one is written.
  const given = FIELDS.filter(({ key }) => key !== "days" || of === null || texts.days !== "");
  const numbers = given.map(({ key }) => [key, texts[key] === "" ? null : Number(texts[key])] as const);
  return { ...Object.fromEntries(numbers), models: named.length === 0 ? null : named };
}

export function KeyForm({ of, onClose, onMade }: { of: Key | null; onClose: () => void; onMade: (key: string) => void }) {
  const [name, setName] = useState("");
  const [models, setModels] = useState((of?.models ?? []).join(" "));
  const [texts, setTexts] = useState(textsOf(of));
  const save = useChange({
    act: () => {
      const body = bodyOf(texts, models, of);
      return of === null ? send<Key>("POST", "/api/keys", { ...body, name }) : send<Key>("PATCH", `/api/keys/${of.id}`, body);
    },
    stale: ["keys"], quiet: true,
    done: (made) => { if (of === null) onMade(made.key ?? ""); else onClose(); return of === null ? "The key is made" : "Changed"; },
  });
  return (
    <Dialog open onClose={onClose} title={of === null ? "Make a key" : `Change ${of.name}`}>
      <form className="stack" onSubmit={(e) => { e.preventDefault(); save.mutate(); }}>
        {of === null ? <Field name="Name" help="what it is for">{(ids) => <input {...ids} className="input" required maxLength={64} value={name} onChange={(e) => { setName(e.target.value); }} />}</Field> : null}
        <Field name="Models" help="names it may ask for, with spaces between; empty: all">{(ids) => <input {...ids} className="input" value={models} onChange={(e) => { setModels(e.target.value); }} />}</Field>
        <div className="grid">
          {FIELDS.map((f) => (
            <Field key={f.key} name={f.name}>
              {(ids) => <input {...ids} className="input" type="number" min={f.step === "1" ? 1 : 0} step={f.step} placeholder="no limit" value={texts[f.key]} onChange={(e) => { setTexts((old) => ({ ...old, [f.key]: e.target.value })); }} />}
            </Field>
          ))}
        </div>
        {save.isError ? <Fault error={save.error} /> : null}
        <div className="row"><Button kind="primary" type="submit" busy={save.isPending}>{of === null ? "Make" : "Save"}</Button><Button onClick={onClose}>Leave it</Button></div>
      </form>
    </Dialog>
  );
}
