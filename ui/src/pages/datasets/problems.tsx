/** The rows that are not used: where, and why. */
import type { DataProblem, Dataset } from "../../api/types";
import { Empty, Panel, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count } from "../../kit/words";
import { leftOut } from "./queries";

interface Numbered extends DataProblem {
  number: number;
}

const COLUMNS: Column<Numbered>[] = [
  { name: "Line", show: (p) => <span className="mono">{p.line}</span> },
  { name: "Reason", show: (p) => <span className="wrap">{p.message}</span> },
  { name: "Code", show: (p) => <Tag tone="warn">{p.code}</Tag> },
];

function why(dropped: Dataset["dropped"]): string {
  return Object.entries(dropped).map(([reason, n]) => `${count(n)} ${reason}`).join(", ");
}

export function Problems({ dataset }: { dataset: Dataset }) {
  const all = leftOut(dataset);
  const rows = dataset.problems.map((p, number) => ({ ...p, number }));
  return (
    <Panel title="Rows left out" actions={all === 0 ? null : <span className="small soft">{why(dataset.dropped)}</span>}>
      <div className="stack tight">
        <Table label="Rows left out" columns={COLUMNS} rows={rows} id={(p) => p.number} empty={<Empty title="Every row can be used" />} />
        {all > rows.length ? <p className="small soft">The first {count(rows.length)} of {count(all)} are named.</p> : null}
      </div>
    </Panel>
  );
}
