/** Inputs, and whom each would ask, why, and for how much. Nothing is sent to a model. */
import { useState } from "react";

import { useChange } from "../../api/change";
import { send } from "../../api/http";
import type { Outlook } from "../../api/types";
import type { List } from "../../api/types";
import { Button, Field, Note, Tag } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { usd } from "../../kit/words";

function Look({ look }: { look: Outlook }) {
  return (
    <li className="stack tight">
      <strong className="wrap">{look.input}</strong>
      {look.error === "" ? null : <Note tone="bad">{look.error}</Note>}
      {look.rules.length === 0 ? null : <div className="small wrap">because {look.rules.map((r) => <code key={r}>{r} </code>)}</div>}
      <ol>
        {look.steps.map((s, i) => (
          <li key={`${s.name} ${s.model}`}>
            {s.name} <span className="soft">({s.model}, {s.place})</span> <Tag>{s.usd === null ? "price unknown" : `at most about ${usd(s.usd)}`}</Tag> {i === 0 ? <Tag tone="good">asked first</Tag> : null}
          </li>
        ))}
      </ol>
      {Object.entries(look.skipped).map(([name, why]) => <div key={name} className="small soft wrap">not {name}: {why}</div>)}
    </li>
  );
}

function lines(text: string): string[] {
  return text.split("\n").map((l) => l.trim()).filter((l) => l !== "");
}

export function Bench({ name }: { name: string }) {
  const [text, setText] = useState("");
  const [tags, setTags] = useState("");
  const test = useChange({
    act: () => send<List<Outlook>>("POST", `/api/strategies/${encodeURIComponent(name)}/test`, { inputs: lines(text), tags: tags.split(/[\s,]+/).filter((t) => t !== "") }),
    quiet: true,
  });
  return (
    <form className="stack" onSubmit={(e) => { e.preventDefault(); test.mutate(undefined); }}>
      <Field name="Inputs" help="one per line; none: a short, a long, a code, a picture and a tool request">
        {(ids) => <textarea {...ids} className="input" rows={3} value={text} onChange={(e) => { setText(e.target.value); }} />}
      </Field>
      <Field name="Tags" help="as clients send in x-stead-tags">
        {(ids) => <input {...ids} className="input" value={tags} onChange={(e) => { setTags(e.target.value); }} />}
      </Field>
      <div><Button type="submit" busy={test.isPending}>Who would answer?</Button></div>
      {test.isError ? <Fault error={test.error} /> : null}
      {test.data === undefined ? null : <ul className="looks">{test.data.items.map((look, i) => <Look key={i} look={look} />)}</ul>}
    </form>
  );
}
