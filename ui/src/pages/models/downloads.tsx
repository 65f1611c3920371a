/** Downloads at work, and those that failed: with their progress, cancelling and trying again. */
import { useChange } from "../../api/change";
import { send } from "../../api/http";
import { isDone, useJobs } from "../../api/jobs";
import type { Job } from "../../api/types";
import { Button, Note, Panel } from "../../kit/parts";
import { Progress, StateTag } from "../../kit/state";

const FAILED_SHOWN = 3;

function One({ job }: { job: Job }) {
  const act = useChange<"cancel" | "retry">({
    act: (what) => send("POST", `/api/jobs/${encodeURIComponent(job.id)}/${what}`),
    stale: ["jobs"],
  });
  const done = isDone(job);
  return (
    <li className="stack tight">
      <div className="row spread">
        <span className="grow wrap">{job.title}</span>
        <StateTag state={job.state} />
        <Button small busy={act.isPending} aria-label={`${done ? "Try again" : "Cancel"}: ${job.title}`} onClick={() => { act.mutate(done ? "retry" : "cancel"); }}>
          {done ? "Try again" : "Cancel"}
        </Button>
      </div>
      {done ? null : <Progress label="fetched" share={job.progress} />}
      {job.error === null ? null : (
        <Note tone="bad">
          {job.error.message}
          {job.error.hint === null ? null : <div className="small">hint: <code>{job.error.hint}</code></div>}
        </Note>
      )}
    </li>
  );
}

export function Downloads() {
  const jobs = useJobs("download", "models");
  const all = jobs.data ?? [];
  const failed = all.filter((job) => job.state === "failed").slice(0, FAILED_SHOWN);
  const shown = [...all.filter((job) => !isDone(job)), ...failed];
  if (shown.length === 0) return null;
  return (
    <Panel title="Downloads">
      <ul className="plain-list stack">{shown.map((job) => <One key={job.id} job={job} />)}</ul>
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
