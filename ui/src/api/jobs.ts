/** Jobs as they go: asked again while any is at work; what a finished one made is asked again too. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";

import { get } from "./http";
import type { Job, List } from "./types";

const AT_WORK_MS = 1000;
const QUIET_MS = 10_000;
const DONE = new Set(["succeeded", "failed", "cancelled"]);

export function isDone(job: Job): boolean {
  return DONE.has(job.state);
}

/** The jobs of one kind, the newest first; `stale` names the queries that a job's end changes. */
export function useJobs(kind: Job["kind"], stale: string) {
  const cache = useQueryClient();
  const active = useRef(new Set<string>());
  const query = useQuery({
    queryKey: ["jobs", kind],
    queryFn: async ({ signal }) => (await get<List<Job>>(`/api/jobs?kind=${kind}&limit=50`, signal)).items.filter((job) => job.kind === kind),
    refetchInterval: ({ state }) => (state.data?.some((job) => !isDone(job)) ? AT_WORK_MS : QUIET_MS),
  });
  const jobs = query.data;
  useEffect(() => {
    if (jobs === undefined) return;
    const now = new Set(jobs.filter((job) => !isDone(job)).map((job) => job.id));
    const ended = [...active.current].some((id) => !now.has(id));
    active.current = now;
    if (ended) void cache.invalidateQueries({ queryKey: [stale] });
  }, [jobs, cache, stale]);
  return query;
}
