/** The rows as they are read, part by part. */
import { useState } from "react";

import type { DataRow } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Empty, Note } from "../../kit/parts";
import { Pager } from "../../kit/pager";
import { count } from "../../kit/words";
import { useAddressNumber } from "../../shell/address";
import { useRows } from "./queries";

const SIZE = 20;
const LONG = 900; // characters of a part that are shown at once
const LINES = 12;

interface Turn {
  role?: string;
  from?: string;
  content?: unknown;
  value?: unknown;
}

function isTurns(value: unknown): value is Turn[] {
  return Array.isArray(value) && value.length > 0 && value.every((t) => typeof t === "object" && t !== null && ("role" in t || "from" in t));
}

function isNothing(value: unknown): boolean {
  return value === null || value === undefined || value === "" || (typeof value === "object" && Object.keys(value).length === 0);
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 1);
}

/** Long ones are cut until somebody wants all of it: a page of rows stays a page. */
function Text({ text }: { text: string }) {
  const [whole, setWhole] = useState(text.length <= LONG && text.split("\n").length <= LINES);
  return (
    <>
      <div className={whole ? "cell" : "cell short"}>{text}</div>
      {whole ? null : <div><Button small onClick={() => { setWhole(true); }}>Show all {count(text.length)} characters</Button></div>}
    </>
  );
}

function Cell({ value }: { value: unknown }) {
  if (!isTurns(value)) return <Text text={asText(value)} />;
  return (
    <ol className="plain-list stack tight">
      {value.map((turn, i) => (
        <li key={i}>
          <div className="small soft">{turn.role ?? turn.from}</div>
          <Text text={asText(turn.content ?? turn.value ?? turn)} />
        </li>
      ))}
    </ol>
  );
}

function Fields({ fields }: { fields: Record<string, unknown> }) {
  return Object.entries(fields).filter(([, value]) => !isNothing(value)).map(([name, value]) => (
    <section key={name} className="stack tight">
      <div className="small strong">{name}</div>
      <Cell value={value} />
    </section>
  ));
}

function Row({ row: { row, where, fields, problem } }: { row: DataRow }) {
  return (
    <li className="panel stack tight">
      <div className="row spread small soft">
        <span>row {count(row)}</span>
        <span className="mono">{where}</span>
      </div>
      {problem === null ? null : <Note tone="warn">left out: {problem.message}</Note>}
      {fields === null ? null : <Fields fields={fields} />}
    </li>
  );
}

export function Rows({ id }: { id: string }) {
  const [offset, setOffset] = useAddressNumber("offset");
  const rows = useRows(id, offset, SIZE);
  return (
    <Loaded query={rows} label="reading the rows">
      {({ items, total }) => (
        <div className="stack" aria-busy={rows.isPlaceholderData}>
          <Pager label="Rows" offset={offset} size={SIZE} total={total} onChange={setOffset} />
          {items.length === 0 ? <Empty title="There is no row here" /> : <ol className="plain-list stack">{items.map((row) => <Row key={row.row} row={row} />)}</ol>}
          {items.length > 3 ? <Pager label="Rows" offset={offset} size={SIZE} total={total} onChange={setOffset} /> : null}
        </div>
      )}
    </Loaded>
  );
}
