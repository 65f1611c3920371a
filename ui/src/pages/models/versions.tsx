/** The versions of a model, which never change, and the aliases that point at them. */
import { useState, type SyntheticEvent } from "react";
import { Link } from "react-router";

import { useChange } from "../../api/change";
import { send } from "../../api/http";
import type { Model, ModelVersion } from "../../api/types";
import { Button, Field, Panel, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { ago } from "../../kit/words";
import { useMay } from "../../shell/me";
import { pathOf } from "./one";
import { Publish } from "./publish";

/** Where it came from, and its content's hash. */
function From({ version: { run, source, hash } }: { version: ModelVersion }) {
  return (
    <>
      {run === null || run === undefined ? <span className="wrap">{source}</span> : <Link to={`/runs/${encodeURIComponent(run)}`} title={run}>run {run.split("-").at(-1)}</Link>}
      <code className="small soft block" title={hash}>{hash.slice(0, 12)}</code>
    </>
  );
}

function columns(model: Model): Column<ModelVersion>[] {
  const named = (version: number) => Object.keys(model.aliases).filter((alias) => model.aliases[alias] === version);
  return [
    { name: "Version", number: true, show: (v) => v.version },
    { name: "Aliases", show: (v) => <span className="row">{named(v.version).map((alias) => <Alias key={alias} model={model} alias={alias} />)}</span> },
    { name: "Made", show: (v) => ago(v.created) },
    { name: "From", show: (v) => <From version={v} /> },
    { name: <span className="sr">Action</span>, show: (v) => <Publish model={model} version={v.version} /> },
  ];
}

function aliasPath(model: Model, alias: string): string {
  return `${pathOf(model.name)}/aliases/${encodeURIComponent(alias)}`;
}

function Alias({ model, alias }: { model: Model; alias: string }) {
  const may = useMay("member");
  const remove = useChange({ act: () => send("DELETE", aliasPath(model, alias)), done: () => `The alias ${alias} is gone`, stale: ["models"] });
  return (
    <Tag tone="accent">
      {alias}
      {may ? <Button kind="plain" small className="bare" aria-label={`Remove the alias ${alias}`} busy={remove.isPending} onClick={() => { remove.mutate(); }}>×</Button> : null}
    </Tag>
  );
}

export function Versions({ model }: { model: Model }) {
  const may = useMay("member");
  return (
    <Panel title="Versions">
      <div className="stack">
        <Table label="Versions" columns={columns(model)} rows={model.versions} id={(v) => v.version} empty={<p className="small soft">No version is registered.</p>} />
        {may && model.versions.length > 0 ? <Point model={model} /> : null}
      </div>
    </Panel>
  );
}

function Point({ model }: { model: Model }) {
  const [alias, setAlias] = useState("");
  const [version, setVersion] = useState(String(model.versions[0]?.version ?? ""));
  const point = useChange({
    act: () => send("PUT", aliasPath(model, alias.trim()), { version: Number(version) }),
    done: () => `${alias} points at version ${version}`,
    stale: ["models"],
  });
  const submit = (e: SyntheticEvent) => { e.preventDefault(); point.mutate(); };
  return (
    <form className="row" onSubmit={submit} style={{ alignItems: "end" }}>
      <div className="grow"><Field name="Alias">{(ids) => <input {...ids} className="input" placeholder="production" value={alias} onChange={(e) => { setAlias(e.target.value); }} />}</Field></div>
      <Field name="Version">
        {(ids) => (
          <select {...ids} className="input" value={version} onChange={(e) => { setVersion(e.target.value); }}>
            {model.versions.map((v) => <option key={v.version} value={v.version}>{v.version}</option>)}
          </select>
        )}
      </Field>
      <Button type="submit" busy={point.isPending} disabled={alias.trim() === ""}>Point it there</Button>
    </form>
  );
}
