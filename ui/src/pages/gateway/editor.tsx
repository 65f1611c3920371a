/** A strategy's YAML with line numbers; what the server finds wrong is told at its line. */
import { useId, useRef, useState } from "react";

import { useChange } from "../../api/change";
import { send } from "../../api/http";
import type { Strategy } from "../../api/types";
import { Button, Note } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { useMay } from "../../shell/me";
import "./gateway.css";

interface Wrong {
  line: number;
  text: string;
}

/** `file:12: text` or `… line 12 …`, a line each, as the server writes them. */
function wrongs(error: unknown): Wrong[] {
  const message = error instanceof Error ? error.message : "";
  return message.split("\n").flatMap((text) => {
    const found = /^\S*?:(\d+):?\s+(.*)$/.exec(text) ?? /^.*?\bline (\d+)\b[,:]?\s*(.*)$/.exec(text);
    return found === null ? [] : [{ line: Number(found[1]), text: found[2] ?? text }];
  });
}

function Faults({ error, onGo }: { error: unknown; onGo: (line: number) => void }) {
  const found = wrongs(error);
  if (found.length === 0) return <Fault error={error} />;
  return (
    <Note tone="bad">
      <ul>{found.map((w, i) => <li key={i}><button type="button" className="line-link" onClick={() => { onGo(w.line); }}>line {w.line}</button>: {w.text}</li>)}</ul>
    </Note>
  );
}

export function Editor({ strategy }: { strategy: Strategy }) {
  const id = useId();
  const area = useRef<HTMLTextAreaElement>(null);
  const numbers = useRef<HTMLPreElement>(null);
  const [text, setText] = useState(strategy.yaml);
  const save = useChange({
    act: () => send("PUT", `/api/strategies/${encodeURIComponent(strategy.name)}`, { yaml: text }),
    stale: ["strategies", "strategy"], quiet: true, done: () => "Saved as yours",
  });
  const lines = text.split("\n");
  const bad = new Set(save.isError ? wrongs(save.error).map((w) => w.line) : []);
  const show = (line: number) => {
    const from = lines.slice(0, line - 1).reduce((sum, l) => sum + l.length + 1, 0);
    area.current?.focus();
    area.current?.setSelectionRange(from, from + (lines[line - 1] ?? "").length);
  };
  const may = useMay("admin");
  const changed = text !== strategy.yaml;
  return (
    <div className="stack">
      {strategy.own || !may ? null : <p className="small soft">This one came with stead; saving keeps a copy of yours that takes its place.</p>}
      <label className="sr" htmlFor={id}>YAML of {strategy.name}</label>
      <div className="yaml">
        <pre ref={numbers} aria-hidden>{lines.map((_, i) => <div key={i} className={bad.has(i + 1) ? "bad" : undefined}>{i + 1}</div>)}</pre>
        <textarea id={id} ref={area} className="mono" wrap="off" spellCheck={false} rows={Math.min(30, lines.length + 1)} value={text} readOnly={!may} aria-invalid={save.isError}
          onScroll={(e) => { if (numbers.current !== null) numbers.current.scrollTop = e.currentTarget.scrollTop; }}
          onChange={(e) => { setText(e.target.value); save.reset(); }} />
      </div>
      {save.isError ? <Faults error={save.error} onGo={show} /> : null}
      {may ? <div className="row">
        <Button kind="primary" disabled={!changed} busy={save.isPending} onClick={() => { save.mutate(); }}>Check and save</Button>
        <Button disabled={!changed} onClick={() => { setText(strategy.yaml); save.reset(); }}>Take back</Button>
      </div> : null}
    </div>
  );
}
