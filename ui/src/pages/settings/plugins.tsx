/** Plugins that were found: each runs only after it was enabled, and only as it was then. */
import { useQuery } from "@tanstack/react-query";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { List, Plugin } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Empty } from "../../kit/parts";
import { StateTag } from "../../kit/state";
import { Table, type Column } from "../../kit/table";
import { useMay } from "../../shell/me";

function Switch({ plugin }: { plugin: Plugin }) {
  const may = useMay("admin");
  const verb = plugin.state === "enabled" || plugin.state === "missing" ? "disable" : "enable";
  const turn = useChange({
    act: () => send("POST", `/api/plugins/${encodeURIComponent(plugin.kind)}/${encodeURIComponent(plugin.name)}/${verb}`),
    done: () => `${plugin.kind}/${plugin.name}: ${verb}d, from the next start on`,
    stale: ["plugins"],
  });
  return <Button small disabled={!may} busy={turn.isPending} aria-label={`${verb} ${plugin.name}`} onClick={() => { turn.mutate(); }}>{verb === "enable" ? "Enable" : "Disable"}</Button>;
}

const COLUMNS: Column<Plugin>[] = [
  { name: "Plugin", show: (p) => <code>{p.kind}/{p.name}</code> },
  { name: "State", show: (p) => <StateTag state={p.state} /> },
  { name: "Origin", show: (p) => <span className="wrap">{p.origin}</span> },
  { name: "Hash", show: (p) => <code title={p.sha256}>{p.sha256.slice(0, 12)}</code> },
  { name: <span className="sr">Action</span>, show: (p) => <Switch plugin={p} /> },
];

export function Plugins() {
  const plugins = useQuery({ queryKey: ["plugins"], queryFn: ({ signal }) => get<List<Plugin>>("/api/plugins", signal) });
  const none = <Empty title="No plugin was found"><p>A plugin is a file <code>plugins/KIND/NAME.py</code> in the data directory. Being found runs none of it.</p></Empty>;
  return <Loaded query={plugins}>{({ items }) => <Table label="Plugins" columns={COLUMNS} rows={items} id={(p) => `${p.kind}/${p.name}`} empty={none} />}</Loaded>;
}
