/** Keys for the gateway: make (told once), limit, revoke. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { Key } from "../../api/types";
import type { List } from "../../api/types";
import { Code } from "../../kit/copy";
import { Confirmed, Dialog } from "../../kit/dialog";
import { Loaded } from "../../kit/loaded";
import { Button, Empty, Note, Tag, type Tone } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count, usd } from "../../kit/words";
import { KeyForm } from "./key-form";

function stateOf(key: Key): [Tone, string] {
  if (key.revoked !== null) return ["bad", "revoked"];
  if (key.expires !== null && new Date(key.expires).getTime() < Date.now()) return ["warn", "expired"];
  return ["good", "in force"];
}

function limits(key: Key): string {
  const told = [
    key.rpm === null ? null : `${count(key.rpm)} requests/min`,
    key.tpm === null ? null : `${count(key.tpm)} tokens/min`,
    key.concurrency === null ? null : `${count(key.concurrency)} at once`,
    key.daily_usd === null ? null : `${usd(key.daily_usd)} a day`,
    key.monthly_usd === null ? null : `${usd(key.monthly_usd)} a month`,
    key.expires === null ? null : `until ${new Date(key.expires).toLocaleDateString()}`,
  ].filter((text) => text !== null);
  return told.length === 0 ? "none" : told.join(", ");
}

function Made({ text, onClose }: { text: string; onClose: () => void }) {
  return (
    <Dialog open onClose={onClose} title="The new key">
      <Note tone="warn">Keep it now: it cannot be shown again.</Note>
      <Code language="key" text={text} />
      <div><Button kind="primary" onClick={onClose}>I have kept it</Button></div>
    </Dialog>
  );
}

function Revoke({ of }: { of: Key }) {
  const revoke = useChange({ act: () => send("DELETE", `/api/keys/${of.id}`), stale: ["keys"], done: () => `${of.name} is revoked` });
  return <Confirmed small label="Revoke" question={`Revoke ${of.name}?`} detail={<p>Whoever uses it is refused within two seconds; it cannot be taken back.</p>} busy={revoke.isPending} onYes={() => { revoke.mutate(); }} />;
}

export function Keys() {
  const [form, setForm] = useState<Key | "new" | null>(null);
  const [made, setMade] = useState<string | null>(null);
  const query = useQuery({ queryKey: ["keys"], queryFn: ({ signal }) => get<List<Key>>("/api/keys", signal) });
  const columns: Column<Key>[] = [
    { name: "Name", show: (k) => <><div>{k.name}</div><div className="small soft mono">{k.id}</div></> },
    { name: "State", show: (k) => { const [tone, word] = stateOf(k); return <Tag tone={tone}>{word}</Tag>; } },
    { name: "Models", show: (k) => (k.models === null ? "all" : k.models.join(", ")) },
    { name: "Limits", show: limits },
    { name: "Spent in all", number: true, show: (k) => usd(k.spent_usd) },
    { name: "Requests", number: true, show: (k) => count(k.requests) },
    { name: <span className="sr">Actions</span>, show: (k) => (k.revoked === null ? <div className="row"><Button small aria-label={`Change ${k.name}`} onClick={() => { setForm(k); }}>Change</Button><Revoke of={k} /></div> : null) },
  ];
  return (
    <div className="stack">
      <div className="row spread">
        <p className="soft">With the first key or token, the server asks every client for one.</p>
        <Button kind="primary" onClick={() => { setForm("new"); }}>Make a key</Button>
      </div>
      <Loaded query={query}>
        {({ items }) => <Table label="Keys" columns={columns} rows={items} id={(k) => k.id} empty={<Empty title="There is no key yet"><p>On this machine no key is needed until there is one.</p></Empty>} />}
      </Loaded>
      {form === null ? null : <KeyForm of={form === "new" ? null : form} onClose={() => { setForm(null); }} onMade={(key) => { setForm(null); setMade(key); }} />}
      {made === null ? null : <Made text={made} onClose={() => { setMade(null); }} />}
    </div>
  );
}
