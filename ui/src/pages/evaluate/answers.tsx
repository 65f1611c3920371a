/** The answers row by row, side by side; those that changed or are wrong can be picked out. */
import { useState } from "react";

import type { AnswerRow, EvaluationSummary } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Field, Panel } from "../../kit/parts";
import { Pager } from "../../kit/pager";
import { count } from "../../kit/words";
import { useAddress, useAddressNumber } from "../../shell/address";
import { Answer } from "./answer";
import { filters, type Filter } from "./filters";
import { useAnswers } from "./queries";

const SIZE = 20;

interface ChoiceProps {
  name: string;
  value: string;
  options: [value: string, name: string][];
  onChange: (value: string) => void;
}

function Choice({ name, value, options, onChange }: ChoiceProps) {
  return (
    <Field name={name}>
      {(ids) => (
        <select {...ids} className="input" value={value} onChange={(e) => { onChange(e.target.value); }}>
          {options.map(([v, text]) => <option key={v} value={v}>{text}</option>)}
        </select>
      )}
    </Field>
  );
}

function named(filter: Filter, rows: AnswerRow[]): string {
  return `${filter.name} (${count(rows.filter(filter.holds).length)})`;
}

function Listed({ rows, summary, marked }: { rows: AnswerRow[]; summary: EvaluationSummary; marked: boolean }) {
  const [offset, setOffset] = useAddressNumber("offset");
  const at = offset < rows.length ? offset : 0;
  const pager = <Pager label="Answers" offset={at} size={SIZE} total={rows.length} onChange={setOffset} />;
  if (rows.length === 0) return <Empty title="No answer is like that" />;
  return (
    <>
      {pager}
      <ol className="plain-list stack">
        {rows.slice(at, at + SIZE).map((row) => <Answer key={row.where} row={row} marked={marked} summary={summary} />)}
      </ol>
      {rows.length > SIZE ? pager : null}
    </>
  );
}

function Found({ rows, summary }: { rows: AnswerRow[]; summary: EvaluationSummary }) {
  const metrics = Object.keys(summary.metrics);
  const compared = summary.against !== null;
  const [metric, setMetric] = useAddress("metric", metrics[0] ?? "");
  const [wanted, setWanted] = useAddress("only", "all");
  const [marked, setMarked] = useState(true);
  const all = filters(metric, summary.metrics[metric]?.higher_is_better ?? true, compared);
  const chosen = all.find((f) => f.id === wanted);
  return (
    <div className="stack">
      <div className="grid">
        <Choice name="Show" value={chosen?.id ?? "all"} options={all.map((f) => [f.id, named(f, rows)])} onChange={setWanted} />
        {metrics.length > 1 ? <Choice name="Judged by" value={metric} options={metrics.map((m) => [m, m])} onChange={setMetric} /> : null}
        {compared ? <label className="check"><input type="checkbox" checked={marked} onChange={(e) => { setMarked(e.target.checked); }} />mark the words that differ</label> : null}
      </div>
      <Listed key={wanted} rows={chosen === undefined ? rows : rows.filter(chosen.holds)} summary={summary} marked={marked} />
    </div>
  );
}

export function Answers({ id, summary }: { id: string; summary: EvaluationSummary }) {
  const answers = useAnswers(id);
  return (
    <Panel title="Answers">
      <Loaded query={answers} label="reading the answers">{(rows) => <Found rows={rows} summary={summary} />}</Loaded>
    </Panel>
  );
}
