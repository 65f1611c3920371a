/** Tokens of people for the API and the gateway; each is shown once, when it is made. */
import { useQuery } from "@tanstack/react-query";
import { useState, type SyntheticEvent } from "react";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { List, Token } from "../../api/types";
import { Confirmed } from "../../kit/dialog";
import { Loaded } from "../../kit/loaded";
import { Button, Field, Note, Panel, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { ago } from "../../kit/words";

function Revoke({ token }: { token: Token }) {
  const revoke = useChange({ act: () => send("DELETE", `/api/tokens/${encodeURIComponent(token.id)}`), done: () => `${token.name} is revoked`, stale: ["tokens"] });
  if (token.revoked !== null) return <Tag tone="bad">revoked</Tag>;
  return <Confirmed small label="Revoke" question={`Revoke ${token.name}?`} detail={<p>What uses it is refused from then on.</p>} busy={revoke.isPending} onYes={() => { revoke.mutate(); }} />;
}

const COLUMNS: Column<Token>[] = [
  { name: "Name", show: (t) => t.name },
  { name: "Made", show: (t) => ago(t.created) },
  { name: "Ends", show: (t) => (t.expires === null ? "never" : new Date(t.expires).toLocaleDateString()) },
  { name: <span className="sr">Action</span>, show: (t) => <Revoke token={t} /> },
];

export function Tokens() {
  const [name, setName] = useState("");
  const [days, setDays] = useState("90");
  const tokens = useQuery({ queryKey: ["tokens"], queryFn: ({ signal }) => get<List<Token>>("/api/tokens", signal) });
  const make = useChange({
    act: () => send<Token>("POST", "/api/tokens", { name: name.trim(), days: days === "" ? null : Number(days) }),
    stale: ["tokens"],
  });
  const submit = (e: SyntheticEvent) => { e.preventDefault(); make.mutate(); };
  return (
    <Panel title="Tokens">
      <div className="stack">
        {make.data === undefined ? null : <Note tone="good">Shown this once: <code className="wrap">{make.data.token}</code></Note>}
        <Loaded query={tokens}>{({ items }) => <Table label="Tokens" columns={COLUMNS} rows={items} id={(t) => t.id} empty={<p className="small soft">No token was made yet.</p>} />}</Loaded>
        <form className="row" onSubmit={submit} style={{ alignItems: "end" }}>
          <div className="grow"><Field name="New token's name">{(ids) => <input {...ids} className="input" value={name} onChange={(e) => { setName(e.target.value); }} />}</Field></div>
          <Field name="Days it is good for">{(ids) => <input {...ids} className="input" type="number" min={1} max={3650} value={days} onChange={(e) => { setDays(e.target.value); }} />}</Field>
          <Button type="submit" busy={make.isPending} disabled={name.trim() === ""}>Make</Button>
        </form>
      </div>
    </Panel>
  );
}
