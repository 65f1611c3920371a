/** One message with what can be done to it: copy, edit into a new branch, answer again, switch branch. */
import { useState } from "react";

import type { ChatMessage, Part } from "../../api/types";
import { Copy } from "../../kit/copy";
import { Button } from "../../kit/parts";
import { Content, Facts, Results } from "./answer";
import { ofType, partsOf, textOf } from "./words";

export interface Acts {
  edit: (message: ChatMessage, content: ChatMessage["content"]) => void;
  again: (parent: string | null) => void;
  branch: (id: string) => void;
  results: (parent: string, results: Part[]) => void;
  busy: boolean;
}

function Branches({ all, at, onPick }: { all: ChatMessage[]; at: string; onPick: (id: string) => void }) {
  const index = all.findIndex((m) => m.id === at);
  if (all.length < 2) return null;
  const step = (by: number, name: string, sign: string) => {
    const to = all[index + by];
    return <Button small kind="plain" aria-label={name} disabled={to === undefined} onClick={() => { if (to !== undefined) onPick(to.id); }}>{sign}</Button>;
  };
  return (
    <span className="row" role="group" aria-label="Branches">
      {step(-1, "Branch before", "‹")}
      <span className="small soft num">{`${String(index + 1)} of ${String(all.length)}`}</span>
      {step(1, "Next branch", "›")}
    </span>
  );
}

function Editor({ message, onSave, onLeave }: { message: ChatMessage; onSave: (content: ChatMessage["content"]) => void; onLeave: () => void }) {
  const [text, setText] = useState(textOf(message.content));
  const others = partsOf(message.content).filter((p) => p.type !== "text");
  const save = () => { onSave(others.length === 0 ? text : [...others, { type: "text", text }]); };
  return (
    <form className="stack tight" onSubmit={(e) => { e.preventDefault(); save(); }}>
      <textarea className="input" aria-label="Message" rows={4} value={text} autoFocus onChange={(e) => { setText(e.target.value); }} onKeyDown={(e) => { if (e.key === "Escape") onLeave(); }} />
      <div className="row">
        <Button small kind="primary" type="submit">{message.role === "user" ? "Ask this instead" : "Keep as a branch"}</Button>
        <Button small onClick={onLeave}>Leave it</Button>
      </div>
    </form>
  );
}

export function Images({ parts }: { parts: Part[] }) {
  return parts.map((p, i) => (p.type === "image_url" ? <img key={i} className="shot" src={p.image_url.url} alt={`Picture ${String(i + 1)}`} /> : null));
}

const NAMES: Record<ChatMessage["role"], string> = { user: "You", assistant: "Answer", tool: "Tools", system: "System" };

function Tools({ message, all, last, acts, onEdit }: { message: ChatMessage; all: ChatMessage[]; last: boolean; acts: Acts; onEdit: () => void }) {
  const { id, parent, role, content } = message;
  const act = (name: string, on: () => void) => <Button small kind="plain" disabled={acts.busy} onClick={on}>{name}</Button>;
  return (
    <div className="row tools">
      <Branches all={all} at={id} onPick={acts.branch} />
      <Copy text={textOf(content)} />
      {role === "tool" ? null : act("Edit", onEdit)}
      {role === "assistant" ? act("Regenerate", () => { acts.again(parent); }) : null}
      {last && role !== "assistant" ? act("Answer this", () => { acts.again(id); }) : null}
    </div>
  );
}

function Body({ message }: { message: ChatMessage }) {
  return (
    <>
      <Images parts={partsOf(message.content)} />
      {message.role === "user" ? <div className="plain-text">{textOf(message.content)}</div> : <Content content={message.content} />}
    </>
  );
}

export function MessageView({ message, all, last, acts }: { message: ChatMessage; all: ChatMessage[]; last: boolean; acts: Acts }) {
  const [editing, setEditing] = useState(false);
  const calls = last ? ofType(message.content, "tool_call") : [];
  const leave = () => { setEditing(false); };
  return (
    <article className={`said ${message.role}`} aria-label={NAMES[message.role]}>
      {editing ? <Editor message={message} onLeave={leave} onSave={(next) => { leave(); acts.edit(message, next); }} /> : <Body message={message} />}
      {message.role === "assistant" ? <Facts model={message.model} usage={message.usage} deviations={message.deviations} /> : null}
      {calls.length > 0 ? <Results calls={calls} busy={acts.busy} onGive={(results) => { acts.results(message.id, results); }} /> : null}
      {editing ? null : <Tools message={message} all={all} last={last} acts={acts} onEdit={() => { setEditing(true); }} />}
    </article>
  );
}
