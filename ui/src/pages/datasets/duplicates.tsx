/** Rows that say the same: training sees each once unless the recipe says otherwise. */
import type { Duplicates as Found } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Note, Panel } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count } from "../../kit/words";
import { useDuplicates } from "./queries";

type Group = Found["groups"][number];

function lines({ lines: named, count: all }: Group): string {
  const more = all - named.length;
  return named.join(", ") + (more > 0 ? ` and ${count(more)} more` : "");
}

const COLUMNS: Column<Group>[] = [
  { name: "Rows that begin with", show: (g) => <span className="wrap">{g.text}</span> },
  { name: "Times", number: true, show: (g) => count(g.count) },
  { name: "Where", show: (g) => <span className="mono wrap">{lines(g)}</span> },
];

export function Duplicates({ id }: { id: string }) {
  const duplicates = useDuplicates(id);
  return (
    <Loaded query={duplicates} label="comparing the rows">
      {(found) => (
        <Panel title="Duplicates" actions={<span className="small soft">{count(found.duplicates)} of {count(found.rows)} rows repeat another</span>}>
          <div className="stack">
            <Table label="Duplicates" columns={COLUMNS} rows={found.groups} id={(g) => g.lines.join(" ")} empty={<Empty title="No row repeats another" />} />
            {found.same_prompt === 0 ? null : <Note tone="info">{count(found.same_prompt)} {found.same_prompt === 1 ? "question has" : "questions have"} more than one answer; such rows are kept.</Note>}
          </div>
        </Panel>
      )}
    </Loaded>
  );
}
