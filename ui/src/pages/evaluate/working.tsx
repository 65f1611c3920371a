/** Evaluations that were just started: how far each is, and the way to its result. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { Link } from "react-router";

import { isEnded, useJob } from "../../api/nouns";
import type { Job } from "../../api/types-data";
import { Note } from "../../kit/parts";
import { Progress, StateTag } from "../../kit/state";

function resultOf(job: Job): string | null {
  const id = job.result?.evaluation;
  return typeof id === "string" ? id : null;
}

function One({ started }: { started: Job }) {
  const cache = useQueryClient();
  const job = useJob(started.id).data ?? started;
  const over = isEnded(job);
  const made = resultOf(job);
  useEffect(() => { if (over) void cache.invalidateQueries({ queryKey: ["evaluations"] }); }, [over, cache]);
  return (
    <li className="stack tight">
      <div className="row spread">
        <span className="wrap">{made === null ? job.title : <Link to={`/evaluate/${encodeURIComponent(made)}`}>{job.title}</Link>}</span>
        <StateTag state={job.state} />
      </div>
      {over ? null : <Progress label="Rows answered" share={job.progress} {...(job.state === "queued" ? { text: "waits for its turn" } : {})} />}
      {job.error === null ? null : (
        <Note tone="bad">
          {job.error.message}
          {job.error.hint === null ? null : <div className="small">hint: <code>{job.error.hint}</code></div>}
        </Note>
      )}
    </li>
  );
}

export function Working({ started }: { started: Job[] }) {
  if (started.length === 0) return null;
  return <ul className="plain-list stack working" aria-label="Started here">{started.map((job) => <One key={job.id} started={job} />)}</ul>;
}
