/** What an answer is made of: reasoning, text, tool calls, and how it came about. */
import { useState } from "react";

import type { AnswerUsage, ChatMessage, Deviation, Part } from "../../api/types";
import { Code } from "../../kit/copy";
import { Markdown } from "../../kit/markdown";
import { Button, Field, Tag } from "../../kit/parts";
import { count, number, seconds, usd } from "../../kit/words";
import { ofType, textOf } from "./words";

type Call = Extract<Part, { type: "tool_call" }>;

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json; // as the model wrote it
  }
}

export function Content({ content, open = false }: { content: ChatMessage["content"]; open?: boolean }) {
  const thought = ofType(content, "reasoning").map((p) => p.text).join("");
  return (
    <div className="stack tight">
      {thought === "" ? null : (
        <details className="thought" open={open}>
          <summary>Reasoning</summary>
          <Markdown text={thought} />
        </details>
      )}
      <Markdown text={textOf(content)} />
      {ofType(content, "tool_call").map((call, i) => (
        <div key={i} className="stack tight">
          <div className="row"><Tag tone="info">tool call</Tag><code>{call.name}</code></div>
          <Code language="arguments" text={pretty(call.arguments)} />
        </div>
      ))}
      {ofType(content, "tool_result").map((result, i) => (
        <div key={i} className="stack tight">
          <div className="row"><Tag tone="good">tool result</Tag><code>{result.name}</code></div>
          <Code language="result" text={pretty(result.text)} />
        </div>
      ))}
    </div>
  );
}

function told(usage: AnswerUsage): string[] {
  const { tokens_per_s: rate, first_s: first, cost_usd: cost, completion_tokens: out, prompt_tokens: given, seconds: all } = usage;
  const some = (value: number | null | undefined, text: (v: number) => string) => (value === null || value === undefined ? [] : [text(value)]);
  return [
    ...some(out, (v) => `${count(given ?? 0)} tokens in, ${count(v)} out`),
    ...some(rate, (v) => `${number(v, 3)} tokens/s`),
    ...some(first, (v) => `first token ${seconds(v)}`),
    ...some(all, (v) => `in all ${seconds(v)}`),
    ...some(cost, (v) => usd(v)),
  ];
}

const UNUSUAL: Partial<Record<string, string>> = { length: "cut: longest answer reached", content_filter: "cut by a filter", stopped: "stopped", error: "cut by an error" };

/** The model that really answered, speed, cost, and what was done differently from what was asked. */
export function Facts({ model, usage, deviations }: { model: string | null; usage: AnswerUsage | null; deviations: Deviation[] }) {
  const unusual = UNUSUAL[usage?.finish ?? ""];
  return (
    <div className="stack tight small soft">
      <div className="row">
        <span className="wrap">{model ?? "edited"}</span>
        {unusual === undefined ? null : <Tag tone="warn">{unusual}</Tag>}
        {usage === null ? null : <span>{told(usage).join(" · ")}</span>}
      </div>
      {deviations.length === 0 ? null : (
        <ul className="wrap">{deviations.map((d, i) => <li key={i}><Tag tone="warn">{d.kind}</Tag> {d.detail}</li>)}</ul>
      )}
    </div>
  );
}

/** Asks for what the called tools gave. */
export function Results({ calls, onGive, busy }: { calls: Call[]; onGive: (results: Part[]) => void; busy: boolean }) {
  const [texts, setTexts] = useState<string[]>([]);
  const give = () => { onGive(calls.map((c, i) => ({ type: "tool_result", tool_call_id: c.id, name: c.name, text: texts[i] ?? "" }))); };
  return (
    <form className="stack tight" onSubmit={(e) => { e.preventDefault(); give(); }}>
      {calls.map((call, i) => (
        <Field key={i} name={<>Result of <code>{call.name}</code></>} help="JSON or text; the model goes on with it">
          {(ids) => <textarea {...ids} className="input mono" rows={2} value={texts[i] ?? ""} onChange={(e) => { setTexts(calls.map((_, j) => (j === i ? e.target.value : (texts[j] ?? "")))); }} />}
        </Field>
      ))}
      <div><Button small type="submit" busy={busy}>Give to the model</Button></div>
    </form>
  );
}
