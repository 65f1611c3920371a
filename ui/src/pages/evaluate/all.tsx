/** What was measured, and the form that measures more. */
import { Link } from "react-router";

import { useDatasets } from "../../api/nouns";
import type { Evaluation } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { ago } from "../../kit/words";
import { useMay } from "../../shell/me";
import { Page } from "../../shell/page";
import { dataName, modelName } from "./names";
import { useEvaluations } from "./queries";
import { Start } from "./start";
import { Verdicts } from "./verdict";
import { Working } from "./working";

function title(e: Evaluation): string {
  return e.title === "" ? e.id : e.title;
}

function Data({ place }: { place: string }) {
  return <span className="wrap">{dataName(place, useDatasets().data?.items)}</span>;
}

const COLUMNS: Column<Evaluation>[] = [
  { name: "Evaluation", show: (e) => <Link className="wrap" to={`/evaluate/${encodeURIComponent(e.id)}`}>{title(e)}</Link> },
  { name: "Models", show: (e) => <span className="wrap">{e.models.map(modelName).join(" against ")}</span> },
  { name: "Data", show: (e) => <Data place={e.data} /> },
  { name: "Result", show: (e) => (e.summary === null ? <span className="soft">not yet</span> : <Verdicts metrics={e.summary.metrics} />) },
  { name: "Made", show: (e) => ago(e.created) },
];

export function All() {
  const evaluations = useEvaluations();
  const may = useMay("member");
  return (
    <Page title="Evaluate" lead="Ask models the same rows and see, with error bars, whether one answers better.">
      {may ? <Start /> : null}
      <Working />
      <Loaded query={evaluations} label="asking for the evaluations">
        {({ items }) => (
          <Table
            label="Evaluations" columns={COLUMNS} rows={items} id={(e) => e.id}
            empty={<Empty title="Nothing was measured yet">{may ? <p>Choose a model, a data set and a metric above.</p> : null}</Empty>}
          />
        )}
      </Loaded>
    </Page>
  );
}
