/** What the pages of evaluations ask the server. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { get, send } from "../../api/http";
import type { AnswerRow, Evaluation, Job, List, Run } from "../../api/types";

const PART = 200; // as many as the server gives at once
const SOON_MS = 3000;

export interface Order {
  models: string[];
  against: string | null;
  metrics: string[];
  limit: number | null;
}

export function path(id: string): string {
  return `/api/evaluations/${encodeURIComponent(id)}`;
}

export function useEvaluations() {
  return useQuery({
    queryKey: ["evaluations"],
    queryFn: ({ signal }) => get<List<Evaluation>>("/api/evaluations?limit=200", signal),
    refetchInterval: (query) => (query.state.data?.items.some((e) => e.summary === null) ? SOON_MS : false),
  });
}

export function useEvaluation(id: string) {
  return useQuery({
    queryKey: ["evaluations", id],
    queryFn: ({ signal }) => get<Evaluation>(path(id), signal),
    refetchInterval: (query) => (query.state.data?.summary === null ? SOON_MS : false),
  });
}

export function useFinished() {
  return useQuery({ queryKey: ["runs", "succeeded"], queryFn: ({ signal }) => get<List<Run>>("/api/runs?state=succeeded&limit=100", signal) });
}

/** One evaluation per data set, in their order. */
export function useStart() {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async ({ sets, ...order }: Order & { sets: { data: string; title: string }[] }) => {
      const jobs: Job[] = [];
      for (const set of sets) jobs.push(...(await send<{ jobs: Job[] }>("POST", "/api/evaluations", { ...order, ...set })).jobs);
      return jobs;
    },
    onSettled: () => cache.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] === "evaluations" || queryKey[0] === "jobs" }),
  });
}

async function part(id: string, offset: number, limit: number, signal: AbortSignal): Promise<List<AnswerRow>> {
  return get<List<AnswerRow>>(`${path(id)}/rows?offset=${String(offset)}&limit=${String(limit)}`, signal);
}

async function every(id: string, signal: AbortSignal): Promise<AnswerRow[]> {
  const rows: AnswerRow[] = [];
  for (;;) {
    const { items, total } = await part(id, rows.length, PART, signal);
    rows.push(...items);
    if (items.length === 0 || rows.length >= total) return rows;
  }
}

export function useAnswers(id: string) {
  return useQuery({ queryKey: ["evaluations", id, "rows"], queryFn: ({ signal }) => every(id, signal), staleTime: Infinity });
}
