/** Who may ask what, by which way, for how much; and what is going on. */
import { useNavigate, useParams } from "react-router";

import { Tabs } from "../../kit/tabs";
import { useMay } from "../../shell/me";
import { Page } from "../../shell/page";
import { Keys } from "./keys";
import { Providers } from "./providers";
import { Requests } from "./requests";
import { Spend } from "./spend";
import { Strategies } from "./strategies";

export default function Gateway() {
  const { "*": rest = "" } = useParams();
  const go = useNavigate();
  const isAdmin = useMay("admin");
  const [tab = "", ...inside] = rest.split("/");
  const name = decodeURIComponent(inside.join("/"));
  const items = [
    { id: "strategies", name: "Strategies", show: () => <Strategies open={name} /> },
    ...(isAdmin ? [{ id: "keys", name: "Keys", show: () => <Keys /> }] : []),
    { id: "spend", name: "Spend", show: () => <Spend /> },
    { id: "requests", name: "Requests", show: () => <Requests /> },
    { id: "providers", name: "Providers", show: () => <Providers /> },
  ];
  const shown = items.find((i) => i.id === tab)?.id ?? "strategies";
  return (
    <Page title="Gateway" lead="Which models answer whom, by which way, and for how much.">
      <Tabs label="Gateway" items={items} value={shown} onChange={(id) => void go(`/gateway/${id}`)} />
    </Page>
  );
}
