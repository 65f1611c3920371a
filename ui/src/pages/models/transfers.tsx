/** What is fetched, added or sent just now, and what failed: with progress, cancelling, trying again; what has come can be opened. */
import { useState } from "react";
import { Link } from "react-router";

import { useChange } from "../../api/change";
import { send } from "../../api/http";
import { isDone, useJobs } from "../../api/jobs";
import type { Job } from "../../api/types";
import { Button, Panel } from "../../kit/parts";
import { Refused } from "../../kit/problem";
import { Progress, StateTag } from "../../kit/state";
import { addressOf } from "./one";

const FAILED_SHOWN = 3;
const FRESH_MS = 60_000;
const DISMISSED = "stead-dismissed-jobs";
const REMEMBERED = 200;

/** What can be done with a job: stopped while it is at work, opened when it went well, tried again when not. */
function Acts({ job, onDismiss }: { job: Job; onDismiss: () => void }) {
  const act = useChange<"cancel" | "retry">({
    act: (what) => send("POST", `/api/jobs/${encodeURIComponent(job.id)}/${what}`),
    stale: ["jobs"],
  });
  if (!isDone(job)) return <Button small busy={act.isPending} aria-label={`Cancel: ${job.title}`} onClick={() => { act.mutate("cancel"); }}>Cancel</Button>;
  const made = job.result?.name;
  return (
    <>
      {typeof made === "string" ? <Link className="button small" to={addressOf(made)}>Open</Link> : null}
      {job.state === "succeeded" ? null : <Button small busy={act.isPending} aria-label={`Try again: ${job.title}`} onClick={() => { act.mutate("retry", { onSuccess: onDismiss }); }}>Try again</Button>}
      <Button small kind="plain" aria-label={`Dismiss ${job.title}`} onClick={onDismiss}>Dismiss</Button>
    </>
  );
}

function Far({ job }: { job: Job }) {
  if (!isDone(job)) return <Progress label={job.kind === "upload" ? "sent" : "fetched"} share={job.progress} text={job.state === "queued" ? "waits for its turn" : undefined} />;
  return job.state !== "failed" || job.error === null ? null : <Refused fault={job.error} />;
}

function One({ job, onDismiss }: { job: Job; onDismiss: () => void }) {
  return (
    <li className="stack tight">
      <div className="row spread">
        <span className="grow wrap">{job.title}</span>
        <StateTag state={job.state} />
        <Acts job={job} onDismiss={onDismiss} />
      </div>
      <Far job={job} />
    </li>
  );
}

function remembered(): string[] {
  return (localStorage.getItem(DISMISSED) ?? "").split(" ").filter((id) => id !== "");
}

/** Whether it ended well just now: then it is said, and can be opened. */
function isFresh(job: Job): boolean {
  return job.state === "succeeded" && job.finished != null && Date.now() - new Date(job.finished).getTime() < FRESH_MS;
}

/** What is at work, what came just now, and the last that failed, unless somebody does not want to see it again. */
function useShown(all: Job[]): { shown: Job[]; dismiss: (id: string) => void } {
  const [dismissed, setDismissed] = useState(remembered);
  const left = all.filter((job) => !dismissed.includes(job.id));
  const failed = left.filter((job) => job.state === "failed").slice(0, FAILED_SHOWN);
  const dismiss = (id: string) => {
    const next = [...dismissed, id].slice(-REMEMBERED);
    localStorage.setItem(DISMISSED, next.join(" "));
    setDismissed(next);
  };
  return { shown: [...left.filter((job) => !isDone(job)), ...left.filter(isFresh), ...failed], dismiss };
}

export function Transfers() {
  const downloads = useJobs("download", "models");
  const uploads = useJobs("upload", "hub-token");
  const { shown, dismiss } = useShown([...(downloads.data ?? []), ...(uploads.data ?? [])]);
  if (shown.length === 0) return null;
  return (
    <Panel title={shown.some((job) => job.kind === "upload") ? "Downloads and uploads" : "Downloads"}>
      <ul className="plain-list stack">{shown.map((job) => <One key={job.id} job={job} onDismiss={() => { dismiss(job.id); }} />)}</ul>
    </Panel>
  );
}

/** Orders a download and says so. */
export function useDownload() {
  return useChange<{ ref: string; name: string | null }, { job: Job }>({
    act: (given) => send("POST", "/api/hub/download", given),
    done: (_, { ref }) => `${ref} is being fetched`,
    stale: ["jobs"],
  });
}
