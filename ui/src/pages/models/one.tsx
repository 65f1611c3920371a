/** One model: its facts, versions and aliases, card and lineage; checking and deleting it. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { Model, Verified } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Facts, Note, Panel, Tag } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { bytes, count, short } from "../../kit/words";
import { useMay } from "../../shell/me";
import { Page } from "../../shell/page";
import { Card, Lineage } from "./about";
import { Delete } from "./delete";
import { Versions } from "./versions";

export function addressOf(name: string): string {
  return `/models/${encodeURIComponent(name)}`;
}

export function pathOf(name: string): string {
  return `/api/models/${encodeURIComponent(name)}`;
}

export function One({ name }: { name: string }) {
  const model = useQuery({ queryKey: ["models", name], queryFn: ({ signal }) => get<Model>(pathOf(name), signal) });
  return (
    <Page title={name} lead={<Link to="/models">All models</Link>} actions={model.data === undefined ? null : <Actions model={model.data} />}>
      <Loaded query={model}>
        {(found) => (
          <div className="two">
            <div className="stack">
              <Overview model={found} />
              <Versions model={found} />
              <Card name={name} />
            </div>
            <div className="stack">
              {runOf(found) === null ? <Check name={name} /> : null}
              <Lineage name={name} />
              <Uses model={found} />
            </div>
          </div>
        )}
      </Loaded>
    </Page>
  );
}

/** The run that made it; it answers by the run's id. */
function runOf(model: Model): string | null {
  return model.source.startsWith("run:") ? model.versions[0]?.run ?? null : null;
}

function Actions({ model }: { model: Model }) {
  return (
    <>
      <Link className="button" to={`/playground?model=${encodeURIComponent(runOf(model) ?? model.name)}`}>Chat</Link>
      <Link className="button primary" to={`/train?model=${encodeURIComponent(model.name)}`}>Train on it</Link>
      <Delete model={model} />
    </>
  );
}

function Source({ model }: { model: Model }) {
  const run = runOf(model);
  return run === null ? model.source : <>run <Link to={`/runs/${encodeURIComponent(run)}`}>{run}</Link></>;
}

function Overview({ model }: { model: Model }) {
  return (
    <Panel title="Facts">
      {model.reason === "" ? null : <Note tone="warn">{model.reason}</Note>}
      <Facts
        items={[
          ["Kind", model.kind], ["Family", model.family], ["Parameters", `${short(model.parameters)} (${count(model.parameters)})`],
          ["Precision", model.dtype], ["Size", bytes(model.bytes)], ["Context", model.context === 0 ? "not stated" : `${count(model.context)} tokens`],
          ["Came from", <Source key="source" model={model} />], ["Folder", <code key="path">{model.path}</code>],
        ]}
      />
    </Panel>
  );
}

function Check({ name }: { name: string }) {
  const may = useMay("member");
  const verify = useChange({ act: () => send<Verified>("POST", `${pathOf(name)}/verify`), quiet: true });
  return (
    <Panel title="Files" actions={<Button small disabled={!may} busy={verify.isPending} onClick={() => { verify.mutate(); }}>Verify</Button>}>
      <div className="stack tight">
        <p className="small soft">Every file is read again and its hash compared with the one noted when the model came here.</p>
        {verify.isError ? <Fault error={verify.error} /> : null}
        {verify.data === undefined ? null : <Outcome found={verify.data} />}
      </div>
    </Panel>
  );
}

function Outcome({ found }: { found: Verified }) {
  if (found.ok) return <Note tone="good">All {count(found.files)} files are as they were.</Note>;
  return (
    <Note tone="bad">
      <ul>{found.problems.map((problem, i) => <li key={i}>{Object.values(problem).join(" · ")}</li>)}</ul>
    </Note>
  );
}

/** Who depends on a model; a run has a page. */
function User({ name }: { name: string }) {
  const [what, id] = name.split(" ");
  return what === "run" && id !== undefined ? <>run <Link to={`/runs/${encodeURIComponent(id)}`}>{id}</Link></> : name;
}

function Uses({ model }: { model: Model }) {
  return (
    <Panel title="Used by">
      {model.used_by.length === 0 ? <p className="small soft">Nothing depends on this model.</p> : <ul>{model.used_by.map((user) => <li key={user} className="wrap"><User name={user} /></li>)}</ul>}
      {model.adapters.length === 0 ? null : <p className="row small">Adapters: {model.adapters.map((adapter) => <Tag key={adapter}>{adapter}</Tag>)}</p>}
    </Panel>
  );
}
