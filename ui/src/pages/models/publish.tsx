/** Publishing a version on a hub: where, as what, what would be sent, and how far it is. */
import { useQuery } from "@tanstack/react-query";
import { useState, type SyntheticEvent } from "react";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import { isDone } from "../../api/jobs";
import { useJob } from "../../api/nouns";
import type { HubToken, Job, Model } from "../../api/types";
import { Dialog } from "../../kit/dialog";
import { Button, Field, Note } from "../../kit/parts";
import { Fault, Refused } from "../../kit/problem";
import { Progress } from "../../kit/state";
import { bytes, count } from "../../kit/words";
import { useMay } from "../../shell/me";

interface Sent {
  repository: string;
  url: string | null;
  files: string[];
  bytes: number;
  private: boolean;
  card: string;
}

export function useHubToken() {
  return useQuery({ queryKey: ["hub-token"], queryFn: ({ signal }) => get<HubToken>("/api/hub/token", signal), staleTime: 60_000 });
}

/** What was sent, or would be. */
function Outcome({ sent }: { sent: Sent }) {
  const what = `${count(sent.files.length)} files, ${bytes(sent.bytes)}`;
  return (
    <Note tone={sent.url === null ? "info" : "good"}>
      <div className="stack tight">
        {sent.url === null
          ? <div>{what} would be sent to {sent.repository}, {sent.private ? "private" : "for everybody to see"}. Nothing has left this machine.</div>
          : <div>{what} are published at <a href={sent.url} target="_blank" rel="noreferrer">{sent.repository}</a>; what arrived is the same, byte for byte.</div>}
        <div className="mono wrap">{sent.files.join(", ")}</div>
        <details><summary>The card</summary><pre className="code card-text" tabIndex={0}>{sent.card}</pre></details>
      </div>
    </Note>
  );
}

function Going({ job }: { job: Job }) {
  if (job.error !== null && job.state !== "queued") return <Refused fault={job.error} />;
  if (job.state === "succeeded") return <Outcome sent={job.result as unknown as Sent} />;
  return <Progress label="sent" share={job.progress} text={job.state === "queued" ? "waits for its turn" : undefined} />;
}

function TokenStatus({ token }: { token: HubToken }) {
  if (token.present) return <p className="small soft">A token of the hub is set ({token.source}); it must be one that may write.</p>;
  return <Note tone="warn">No token of the hub is set on the server, so nothing can be sent yet: start it with HF_TOKEN, or log in there with <code>hf auth login</code>. What would be sent can be shown without one.</Note>;
}

interface Wanted {
  repository: string;
  license: string;
  private: boolean;
  merge: boolean;
}

/** The order, with `dry` of a rehearsal, and the job that carries it out. */
function useOrder(model: Model, version: number, wanted: Wanted) {
  const order = useChange<boolean, { job: Job }>({
    act: (dry) => send("POST", "/api/hub/upload", {
      ...wanted, model: model.name, version, repository: wanted.repository.trim(), license: wanted.license.trim() === "" ? null : wanted.license.trim(), dry_run: dry,
    }),
    stale: ["jobs"], quiet: true,
  });
  const job = useJob(order.data?.job.id ?? null).data ?? order.data?.job;
  return { order, job, busy: order.isPending || (job !== undefined && !isDone(job)) };
}

function Fields({ model, wanted, onChange }: { model: Model; wanted: Wanted; onChange: (part: Partial<Wanted>) => void }) {
  return (
    <>
      <Field name="Repository" help="Owner and name on the hub; it is made when it is not there.">
        {(ids) => <input {...ids} className="input" placeholder="you/my-model" autoComplete="off" value={wanted.repository} onChange={(e) => { onChange({ repository: e.target.value }); }} />}
      </Field>
      <Field name="License (optional)" help="For the card, such as apache-2.0.">
        {(ids) => <input {...ids} className="input" value={wanted.license} onChange={(e) => { onChange({ license: e.target.value }); }} />}
      </Field>
      <label className="check"><input type="checkbox" checked={wanted.private} onChange={(e) => { onChange({ private: e.target.checked }); }} />Private: only you and those you name can see it</label>
      {model.kind === "adapter" ? <label className="check"><input type="checkbox" checked={wanted.merge} onChange={(e) => { onChange({ merge: e.target.checked }); }} />As a whole model: the adapter laid over its base</label> : null}
    </>
  );
}

function Form({ model, version, onClose }: { model: Model; version: number; onClose: () => void }) {
  const [wanted, setWanted] = useState<Wanted>({ repository: "", license: "", private: true, merge: false });
  const token = useHubToken();
  const { order, job, busy } = useOrder(model, version, wanted);
  const isNamed = /^[^\s/]+\/[^\s/]+$/.test(wanted.repository.trim());
  const submit = (e: SyntheticEvent) => { e.preventDefault(); order.mutate(true); };
  return (
    <form className="stack" onSubmit={submit}>
      {token.data === undefined ? null : <TokenStatus token={token.data} />}
      <Fields model={model} wanted={wanted} onChange={(part) => { setWanted((now) => ({ ...now, ...part })); }} />
      {order.isError ? <Fault error={order.error} /> : null}
      {job === undefined ? null : <Going job={job} />}
      <div className="row">
        <Button type="submit" busy={busy} disabled={!isNamed}>Show what would be sent</Button>
        <Button kind="primary" busy={busy} disabled={!isNamed || token.data?.present !== true} onClick={() => { order.mutate(false); }}>Publish</Button>
        <Button kind="plain" onClick={onClose}>Close</Button>
      </div>
    </form>
  );
}

export function Publish({ model, version }: { model: Model; version: number }) {
  const [open, setOpen] = useState(false);
  if (!useMay("member")) return null;
  const close = () => { setOpen(false); };
  return (
    <>
      <Button small aria-label={`Publish version ${String(version)}`} onClick={() => { setOpen(true); }}>Publish</Button>
      <Dialog open={open} onClose={close} title={`Publish ${model.name}, version ${String(version)}`}>
        <Form model={model} version={version} onClose={close} />
      </Dialog>
    </>
  );
}
