/** One data set: how it is read, its rows, its tokens, what is trained on. */
import { Link, useNavigate, useParams } from "react-router";

import { methodFor, useDatasets, useKinds } from "../../api/nouns";
import type { Dataset } from "../../api/types";
import { Confirmed } from "../../kit/dialog";
import { Loaded } from "../../kit/loaded";
import { Facts, Panel } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { Tabs } from "../../kit/tabs";
import { useTell } from "../../kit/toast";
import { ago, bytes, count } from "../../kit/words";
import { useAddress } from "../../shell/address";
import { Page } from "../../shell/page";
import { Duplicates } from "./duplicates";
import { Mask } from "./mask";
import { Problems } from "./problems";
import { readAs, useDataset, useDelete } from "./queries";
import { HowRead } from "./reading";
import { Rows } from "./rows";
import { Split } from "./split";
import { Statistics } from "./statistics";

function Overview({ dataset }: { dataset: Dataset }) {
  return (
    <div className="two">
      <div className="stack">
        <HowRead dataset={dataset} />
        <Problems dataset={dataset} />
      </div>
      <Panel title="Facts">
        <Facts
          items={[
            ["Rows", count(dataset.rows)], ["Kind", dataset.kind ?? "–"], ["Size", bytes(dataset.bytes)],
            ["Columns", dataset.columns.join(", ")], ["Added", ago(dataset.created)], ["Id", <code key="id">{dataset.id}</code>],
          ]}
        />
      </Panel>
    </div>
  );
}

function Remove({ dataset }: { dataset: Dataset }) {
  const removing = useDelete(dataset.id);
  const go = useNavigate();
  const tell = useTell();
  const remove = async () => {
    await removing.mutateAsync();
    tell("good", `${dataset.name} was deleted`);
    await go("/datasets");
  };
  return (
    <>
      {removing.isError ? <Fault error={removing.error} /> : null}
      <Confirmed
        label="Delete" question={`Delete ${dataset.name}?`} busy={removing.isPending}
        detail={<p>The file that was brought in is removed. Runs that were trained on it stay, but cannot be repeated.</p>}
        onYes={() => { remove().catch(() => undefined); }}
      />
    </>
  );
}

/** Its name where that is its alone, and the method that such rows are made for. */
function useTraining({ id, name, kind }: Dataset): string {
  const sets = useDatasets();
  const method = methodFor(useKinds().data, kind);
  const isAlone = sets.data?.items.every((d) => d.id === id || d.name !== name) ?? false;
  return `/train?${new URLSearchParams({ data: isAlone ? name : id, ...(method === null ? {} : { method }) }).toString()}`;
}

function Shown({ dataset }: { dataset: Dataset }) {
  const [tab, setTab] = useAddress("tab", "reading");
  const training = useTraining(dataset);
  const items = [
    { id: "reading", name: "How it is read", show: () => <Overview dataset={dataset} /> },
    { id: "rows", name: "Rows", show: () => <Rows id={dataset.id} /> },
    { id: "tokens", name: "Tokens", show: () => <Statistics id={dataset.id} /> },
    { id: "mask", name: "Mask", show: () => <Mask dataset={dataset} /> },
    { id: "duplicates", name: "Duplicates", show: () => <Duplicates id={dataset.id} /> },
    { id: "split", name: "Split", show: () => <Split dataset={dataset} /> },
  ];
  return (
    <Page
      title={dataset.name} lead={`${count(dataset.rows)} rows · ${bytes(dataset.bytes)} · ${readAs(dataset, "format")} from ${readAs(dataset, "reader")}`}
      actions={<><Link className="button primary" to={training}>Train on it</Link><Remove dataset={dataset} /></>}
    >
      <Tabs label="Parts of the data set" items={items} value={tab} onChange={setTab} />
    </Page>
  );
}

export function One() {
  const { id = "" } = useParams();
  const dataset = useDataset(id);
  return <Loaded query={dataset} label="asking for the data set">{(found) => <Shown dataset={found} />}</Loaded>;
}
