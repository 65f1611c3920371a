/** Who changed which setting when, and taking a change back. */
import { useQuery } from "@tanstack/react-query";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { List, SettingChange } from "../../api/types";
import { Confirmed } from "../../kit/dialog";
import { Loaded } from "../../kit/loaded";
import { Empty } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { ago } from "../../kit/words";
import { shown } from "./value";

function side(value: SettingChange["before"]): string {
  return value === null ? "not set" : shown("value" in value ? value.value : value);
}

function Restore({ change }: { change: SettingChange }) {
  const restore = useChange({
    act: () => send("POST", `/api/settings/history/${change.version.toString()}/restore`),
    done: () => `The change of ${change.key} is taken back`,
    stale: ["settings", "settings-history"],
  });
  return <Confirmed small label="Take back" question={`Take back the change of ${change.key}?`} detail={<p>It becomes {side(change.before)} again, as a further change.</p>} busy={restore.isPending} onYes={() => { restore.mutate(); }} />;
}

const COLUMNS: Column<SettingChange>[] = [
  { name: "When", show: (c) => ago(c.at) },
  { name: "Who", show: (c) => c.actor },
  { name: "Setting", show: (c) => <code>{c.key}</code> },
  { name: "Before", show: (c) => side(c.before) },
  { name: "After", show: (c) => side(c.after) },
  { name: <span className="sr">Action</span>, show: (c) => <Restore change={c} /> },
];

export function History() {
  const changes = useQuery({ queryKey: ["settings-history"], queryFn: ({ signal }) => get<List<SettingChange>>("/api/settings/history", signal) });
  return <Loaded query={changes}>{({ items }) => <Table label="History of settings" columns={COLUMNS} rows={items} id={(c) => c.version} empty={<Empty title="No setting was changed here yet" />} />}</Loaded>;
}
