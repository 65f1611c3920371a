/** The rows that cannot be used: where, and why. */
import type { DataProblem } from "../../api/types";
import { Empty, Panel, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count } from "../../kit/words";

interface Numbered extends DataProblem {
  number: number;
}

const COLUMNS: Column<Numbered>[] = [
  { name: "Line", show: (p) => <span className="mono">{p.line}</span> },
  { name: "Reason", show: (p) => <span className="wrap">{p.message}</span> },
  { name: "Code", show: (p) => <Tag tone="warn">{p.code}</Tag> },
];

export function Problems({ problems }: { problems: DataProblem[] }) {
  const told = problems.length === 0 ? null : <span className="small soft">{count(problems.length)} named</span>;
  return (
    <Panel title="Bad rows" actions={told}>
      <Table
        label="Bad rows" columns={COLUMNS} rows={problems.map((p, number) => ({ ...p, number }))} id={(p) => p.number}
        empty={<Empty title="Every row can be used" />}
      />
    </Panel>
  );
}
