/** Every setting with its value, origin and meaning; a change is written to the data directory's file. */
import { useQuery } from "@tanstack/react-query";
import { useState, type SyntheticEvent } from "react";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { List, Setting } from "../../api/types";
import { Dialog } from "../../kit/dialog";
import { Loaded } from "../../kit/loaded";
import { Button, Empty, Field, Tag } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { Table, type Column } from "../../kit/table";
import { useMay } from "../../shell/me";
import { parsed, shown, written } from "./value";

export function Values() {
  const [asked, setAsked] = useState("");
  const [edited, setEdited] = useState<Setting | null>(null);
  const may = useMay("admin");
  const settings = useQuery({ queryKey: ["settings"], queryFn: ({ signal }) => get<List<Setting>>("/api/settings", signal) });
  const columns: Column<Setting>[] = [
    { name: "Setting", show: (s) => <><code className="wrap">{s.key}</code><span className="small soft block">{s.description}</span></> },
    { name: "Value", show: (s) => <span className="wrap">{shown(s.value)}</span> },
    { name: "From", show: (s) => <Tag tone={s.origin === "default" ? "plain" : "accent"}>{s.origin}</Tag> },
    { name: <span className="sr">Action</span>, show: (s) => (s.fixed !== "" ? <Tag title={s.fixed}>read only</Tag> : may ? <Button small aria-label={`Edit ${s.key}`} onClick={() => { setEdited(s); }}>Edit</Button> : null) },
  ];
  return (
    <div className="stack">
      <Field name="Filter by name or meaning">{(ids) => <input {...ids} className="input" type="search" value={asked} onChange={(e) => { setAsked(e.target.value); }} />}</Field>
      <p className="small soft">Read only: what names a program, a place or an address is set in <code>config.yaml</code> of the data directory; what the environment says is set there.</p>
      <Loaded query={settings}>
        {({ items }) => {
          const found = items.filter((s) => `${s.key} ${s.description}`.toLowerCase().includes(asked.toLowerCase()));
          return <Table label="Settings" columns={columns} rows={found} id={(s) => s.key} empty={<Empty title={`No setting matches “${asked}”`} />} />;
        }}
      </Loaded>
      {edited === null ? null : <Edit key={edited.key} setting={edited} onClose={() => { setEdited(null); }} />}
    </div>
  );
}

function Input({ setting, text, onText, ids }: { setting: Setting; text: string; onText: (text: string) => void; ids: { id: string; "aria-describedby": string | undefined } }) {
  const choices = typeof setting.default === "boolean" ? ["true", "false"] : setting.choices;
  if (choices.length > 0) {
    return (
      <select {...ids} className="input" value={text} onChange={(e) => { onText(e.target.value); }}>
        {choices.map((choice) => <option key={choice}>{choice}</option>)}
      </select>
    );
  }
  if (Array.isArray(setting.default)) return <textarea {...ids} className="input mono" value={text} onChange={(e) => { onText(e.target.value); }} />;
  return <input {...ids} className="input" type={setting.secret ? "password" : "text"} value={text} onChange={(e) => { onText(e.target.value); }} />;
}

function Edit({ setting, onClose }: { setting: Setting; onClose: () => void }) {
  const [text, setText] = useState(setting.secret ? "" : written(setting.value));
  const save = useChange<{ value: unknown }>({
    act: (body) => send("PUT", `/api/settings/${encodeURIComponent(setting.key)}`, body),
    done: () => `${setting.key} is changed; what is read at the start counts from the next start on`,
    stale: ["settings"],
    quiet: true,
  });
  const store = (value: unknown) => { save.mutate({ value }, { onSuccess: onClose }); };
  const submit = (e: SyntheticEvent) => { e.preventDefault(); store(parsed(setting, text)); };
  const help = Array.isArray(setting.default) ? `${setting.description} (one per line)` : setting.description;
  return (
    <Dialog open onClose={onClose} title={`Change ${setting.key}`}>
      <form className="stack" onSubmit={submit}>
        <Field name="Value" help={help}>{(ids) => <Input setting={setting} text={text} onText={setText} ids={ids} />}</Field>
        <p className="small soft">Now from: {setting.origin}. Default: {shown(setting.default)}.</p>
        {save.isError ? <Fault error={save.error} /> : null}
        <div className="row">
          <Button kind="primary" type="submit" busy={save.isPending}>Save</Button>
          <Button busy={save.isPending} onClick={() => { store(null); }}>Use the default</Button>
          <Button onClick={onClose}>Keep</Button>
        </div>
      </form>
    </Dialog>
  );
}
