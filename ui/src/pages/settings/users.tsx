/** People and their roles; a new one gets in by a link that works once. */
import { useQuery } from "@tanstack/react-query";
import { useState, type SyntheticEvent } from "react";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { List, Role, User } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Field, Note, Panel, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { ago } from "../../kit/words";

const ROLES: Role[] = ["viewer", "member", "admin"];

function pathOf(user: User): string {
  return `/api/users/${encodeURIComponent(user.id)}`;
}

function RoleChoice({ user }: { user: User }) {
  const change = useChange<Role>({ act: (role) => send("PATCH", pathOf(user), { role }), done: (_, role) => `${user.name} is ${role}`, stale: ["users"] });
  return (
    <select className="input" aria-label={`Role of ${user.name}`} value={user.role} disabled={change.isPending} onChange={(e) => { change.mutate(e.target.value as Role); }}>
      {ROLES.map((role) => <option key={role}>{role}</option>)}
    </select>
  );
}

function Acts({ user, onLink }: { user: User; onLink: (text: string) => void }) {
  const link = useChange({ act: () => send<{ code: string }>("POST", `${pathOf(user)}/link`), done: () => `A link for ${user.name} is made` });
  const turn = useChange({ act: () => send("PATCH", pathOf(user), { disabled: user.disabled === null }), stale: ["users"] });
  return (
    <span className="row">
      <Button small busy={link.isPending} disabled={user.disabled !== null} aria-label={`Link for ${user.name}`} onClick={() => { link.mutate(undefined, { onSuccess: ({ code }) => { onLink(`${location.origin}/#token=${code}`); } }); }}>Link</Button>
      <Button small busy={turn.isPending} aria-label={`${user.disabled === null ? "Disable" : "Enable"} ${user.name}`} onClick={() => { turn.mutate(); }}>{user.disabled === null ? "Disable" : "Enable"}</Button>
    </span>
  );
}

export function Users() {
  const [link, setLink] = useState<string | null>(null);
  const users = useQuery({ queryKey: ["users"], queryFn: ({ signal }) => get<List<User>>("/api/users", signal) });
  const columns: Column<User>[] = [
    { name: "Name", show: (u) => <span className="row">{u.name}{u.disabled === null ? null : <Tag tone="bad">disabled</Tag>}</span> },
    { name: "Role", show: (u) => <RoleChoice user={u} /> },
    { name: "Since", show: (u) => ago(u.created) },
    { name: <span className="sr">Actions</span>, show: (u) => <Acts user={u} onLink={setLink} /> },
  ];
  return (
    <Panel title="Users">
      <div className="stack">
        {link === null ? null : <Note tone="good">Works once: <code className="wrap">{link}</code></Note>}
        <Loaded query={users}>{({ items }) => <Table label="Users" columns={columns} rows={items} id={(u) => u.id} />}</Loaded>
        <Add />
      </div>
    </Panel>
  );
}

function Add() {
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("member");
  const add = useChange({ act: () => send("POST", "/api/users", { name: name.trim(), role }), done: () => `${name} is added; make a link to let them in`, stale: ["users"] });
  const submit = (e: SyntheticEvent) => { e.preventDefault(); add.mutate(undefined, { onSuccess: () => { setName(""); } }); };
  return (
    <form className="row" onSubmit={submit} style={{ alignItems: "end" }}>
      <div className="grow"><Field name="New user's name">{(ids) => <input {...ids} className="input" value={name} onChange={(e) => { setName(e.target.value); }} />}</Field></div>
      <Field name="Role">
        {(ids) => <select {...ids} className="input" value={role} onChange={(e) => { setRole(e.target.value as Role); }}>{ROLES.map((r) => <option key={r}>{r}</option>)}</select>}
      </Field>
      <Button type="submit" busy={add.isPending} disabled={name.trim() === ""}>Add</Button>
    </form>
  );
}
