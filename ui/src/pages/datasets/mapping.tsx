/** Which column of the file plays which part of the format. */
import { useId, useState } from "react";

import { Button } from "../../kit/parts";

type Pair = [ours: string, theirs: string];

const PARTS = ["prompt", "completion", "instruction", "input", "output", "question", "answer", "context", "messages", "system", "text", "chosen", "rejected", "label", "document", "summary"];

interface LineProps {
  pair: Pair;
  lists: { parts: string; columns: string };
  onChange: (pair: Pair) => void;
  onRemove: () => void;
}

function Line({ pair: [ours, theirs], lists, onChange, onRemove }: LineProps) {
  return (
    <div className="mapping">
      <input className="input" aria-label="Part of the format" placeholder="part, such as prompt" list={lists.parts} value={ours} onChange={(e) => { onChange([e.target.value, theirs]); }} />
      <span className="soft" aria-hidden>←</span>
      <input className="input" aria-label="Column of the file" placeholder="column" list={lists.columns} value={theirs} onChange={(e) => { onChange([ours, e.target.value]); }} />
      <Button small onClick={onRemove} aria-label={`Remove the column for ${ours === "" ? "this part" : ours}`}>Remove</Button>
    </div>
  );
}

export function Mapping({ columns, value, onChange }: { columns: string[]; value: Record<string, string>; onChange: (value: Record<string, string>) => void }) {
  const [pairs, setPairs] = useState<Pair[]>(Object.entries(value));
  const id = useId();
  const change = (next: Pair[]) => {
    setPairs(next);
    onChange(Object.fromEntries(next.filter(([ours, theirs]) => ours.trim() !== "" && theirs.trim() !== "")));
  };
  return (
    <fieldset className="plain-set stack tight">
      <legend className="legend">Columns</legend>
      <p className="small soft">Only needed when the file names them in its own way. A column (<code>body</code>), several joined (<code>title+body</code>) or a pattern (<code>{"Q: {question}"}</code>).</p>
      <datalist id={`${id}-p`}>{PARTS.map((p) => <option key={p} value={p} />)}</datalist>
      <datalist id={`${id}-c`}>{columns.map((c) => <option key={c} value={c} />)}</datalist>
      {pairs.map((pair, i) => (
        <Line
          key={i} pair={pair} lists={{ parts: `${id}-p`, columns: `${id}-c` }}
          onChange={(now) => { change(pairs.map((p, j) => (j === i ? now : p))); }}
          onRemove={() => { change(pairs.filter((_, j) => j !== i)); }}
        />
      ))}
      <div><Button small onClick={() => { change([...pairs, ["", ""]]); }}>Add a column</Button></div>
    </fieldset>
  );
}
