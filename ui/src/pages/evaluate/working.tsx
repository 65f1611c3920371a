/** Evaluations at work or failed: how far each is, why one failed, and the way to its page. */
import { Link } from "react-router";

import { isDone, useJobs } from "../../api/jobs";
import type { Job, Told } from "../../api/types";
import { Note, Panel } from "../../kit/parts";
import { Progress, StateTag } from "../../kit/state";

const FAILED_SHOWN_MS = 3_600_000;

export function Failed({ error }: { error: Told }) {
  return (
    <Note tone="bad">
      {error.message}
      {error.hint === null ? null : <div className="small">hint: <code>{error.hint}</code></div>}
    </Note>
  );
}

function One({ job }: { job: Job }) {
  return (
    <li className="stack tight">
      <div className="row spread">
        <Link className="wrap" to={`/evaluate/${encodeURIComponent(job.id)}`}>{job.title}</Link>
        <StateTag state={job.state} />
      </div>
      {isDone(job) ? null : <Progress label="Rows answered" share={job.progress} {...(job.state === "queued" ? { text: "waits for its turn" } : {})} />}
      {job.error === null ? null : <Failed error={job.error} />}
    </li>
  );
}

function isTold(job: Job): boolean {
  const lately = Date.now() - new Date(job.finished ?? job.created).getTime() < FAILED_SHOWN_MS;
  return !isDone(job) || (job.state === "failed" && lately);
}

export function Working() {
  const jobs = useJobs("evaluation", "evaluations").data?.filter(isTold) ?? [];
  if (jobs.length === 0) return null;
  return (
    <Panel title="At work">
      <ul className="plain-list stack">{jobs.map((job) => <One key={job.id} job={job} />)}</ul>
    </Panel>
  );
}
