import { useParams, useSearchParams } from "react-router";

import { Tabs } from "../../kit/tabs";
import { Page } from "../../shell/page";
import { AddByPath } from "./add";
import { Catalogue } from "./catalogue";
import { Hub } from "./hub";
import { Installed } from "./installed";
import { One } from "./one";
import { Transfers } from "./transfers";

const TABS = [
  { id: "installed", name: "Installed", show: () => <Installed /> },
  { id: "catalogue", name: "Catalogue", show: () => <Catalogue /> },
  { id: "hub", name: "Find on a hub", show: () => <Hub /> },
  { id: "add", name: "Add by path", show: () => <AddByPath /> },
];

export default function Models() {
  const { "*": rest = "" } = useParams();
  const [search, setSearch] = useSearchParams();
  if (rest !== "") return <One name={rest} />;
  return (
    <Page title="Models" lead="What is on this machine, and what can be brought here.">
      <Transfers />
      <Tabs label="Models" items={TABS} value={search.get("tab") ?? "installed"} onChange={(tab) => { setSearch({ tab }, { replace: true }); }} />
    </Page>
  );
}
