/** Rows that say the same: training sees each once unless the recipe says otherwise. */
import { Loaded } from "../../kit/loaded";
import { Empty, Panel } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count } from "../../kit/words";
import { useDuplicates, type Duplicates as Found } from "./queries";

type Group = Found["groups"][number];

const COLUMNS: Column<Group>[] = [
  { name: "Times", number: true, show: (g) => count(g.rows.length) },
  { name: "Text", show: (g) => <div className="cell">{g.text}</div> },
  { name: "Rows", show: (g) => <span className="mono wrap">{g.rows.map((r) => count(r)).join(", ")}</span> },
];

export function Duplicates({ id }: { id: string }) {
  const duplicates = useDuplicates(id);
  return (
    <Loaded query={duplicates} label="comparing the rows">
      {(found) => (
        <Panel title="Duplicates" actions={<span className="small soft">{count(found.duplicates)} of {count(found.rows)} rows repeat another</span>}>
          <Table label="Duplicates" columns={COLUMNS} rows={found.groups} id={(g) => g.rows.join(" ")} empty={<Empty title="No row repeats another" />} />
        </Panel>
      )}
    </Loaded>
  );
}
