import { useSearchParams } from "react-router";

import { Tabs } from "../../kit/tabs";
import { useMay } from "../../shell/me";
import { Page } from "../../shell/page";
import { Appearance } from "./appearance";
import { Doctor } from "./doctor";
import { History } from "./history";
import { Plugins } from "./plugins";
import { Tokens } from "./tokens";
import { Users } from "./users";
import { Values } from "./values";

const EVERYONE = [
  { id: "values", name: "Values", show: () => <Values /> },
  { id: "plugins", name: "Plugins", show: () => <Plugins /> },
  { id: "doctor", name: "Doctor", show: () => <Doctor /> },
  { id: "appearance", name: "Appearance", show: () => <Appearance /> },
];
const ADMINS = [
  { id: "history", name: "History", show: () => <History /> },
  { id: "people", name: "Users and tokens", show: () => <div className="stack"><Users /><Tokens /></div> },
];

export default function Settings() {
  const [search, setSearch] = useSearchParams();
  const items = useMay("admin") ? [...EVERYONE, ...ADMINS] : EVERYONE;
  return (
    <Page title="Settings" lead="How this stead is set up, where each value is from, and who may use it.">
      <Tabs label="Settings" items={items} value={search.get("tab") ?? "values"} onChange={(tab) => { setSearch({ tab }, { replace: true }); }} />
    </Page>
  );
}
