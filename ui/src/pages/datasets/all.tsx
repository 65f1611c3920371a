/** Every data set, and the place to bring in another. */
import { Link } from "react-router";

import { useDatasets } from "../../api/nouns";
import type { Dataset } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { ago, bytes, count } from "../../kit/words";
import { Page } from "../../shell/page";
import { leftOut, readAs } from "./queries";
import { Upload } from "./upload";

function LeftOut({ dataset }: { dataset: Dataset }) {
  const all = leftOut(dataset);
  return all === 0 ? <Tag tone="good">none</Tag> : <Tag tone="warn">{count(all)}</Tag>;
}

const COLUMNS: Column<Dataset>[] = [
  { name: "Name", show: (d) => <Link to={`/datasets/${encodeURIComponent(d.id)}`} className="wrap">{d.name}</Link> },
  { name: "Read as", show: (d) => <span>{readAs(d, "format")} <span className="soft">from {readAs(d, "reader")}</span></span> },
  { name: "Rows", number: true, show: (d) => count(d.rows) },
  { name: "Size", number: true, show: (d) => bytes(d.bytes) },
  { name: "Left out", show: (d) => <LeftOut dataset={d} /> },
  { name: "Added", show: (d) => ago(d.created) },
];

export function All() {
  const datasets = useDatasets();
  return (
    <Page title="Datasets" lead="Rows to train and to measure on. What you bring in stays on this machine.">
      <Upload />
      <Loaded query={datasets} label="asking for the data sets">
        {({ items }) => (
          <Table
            label="Data sets" columns={COLUMNS} rows={items} id={(d) => d.id}
            empty={<Empty title="No data set yet"><p>Bring in a file above: its reader and format are found by looking at it.</p></Empty>}
          />
        )}
      </Loaded>
    </Page>
  );
}
