/** What the pages of runs ask the server, and how often. */
import { useMutation, useQueries, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useSyncExternalStore } from "react";

import { useEvents } from "../../api/events";
import { get, send } from "../../api/http";
import type { Metrics, Run, RunEvent, State } from "../../api/types";
import { Feed, type Told } from "./feed";

const LIVE: State[] = ["queued", "running", "pausing"];
const EVERY_MS = 1500;
const OTHERS_MS = 5000;
const POINTS = 4000;

export function isLive(run: Run): boolean {
  return LIVE.includes(run.state);
}

export function address(id: string, rest = ""): string {
  return `/api/runs/${encodeURIComponent(id)}${rest}`;
}

export function useRun(id: string) {
  return useQuery({
    queryKey: ["run", id],
    queryFn: ({ signal }) => get<Run>(address(id), signal),
    refetchInterval: ({ state }) => (state.data !== undefined && isLive(state.data) ? EVERY_MS : false),
  });
}

/** Ask again while the run is alive. */
export function useOf<T>(run: Run, what: string, every = 2 * EVERY_MS) {
  return useQuery({
    queryKey: ["run", run.id, what, isLive(run)],
    queryFn: ({ signal }) => get<T>(address(run.id, `/${what}`), signal),
    refetchInterval: isLive(run) ? every : false,
  });
}

export function useMetrics(id: string, points = POINTS, from?: number, to?: number, enabled = true) {
  const range = from === undefined || to === undefined ? "" : `&from_step=${String(from)}&to_step=${String(to)}`;
  return useQuery({
    queryKey: ["run", id, "metrics", points, range],
    queryFn: ({ signal }) => get<Metrics>(address(id, `/metrics?points=${String(points)}${range}`), signal),
    staleTime: Infinity, // events bring what is new
    gcTime: 0,
    enabled,
    refetchOnWindowFocus: false,
  });
}

/** A run's measurements: kept ones first, then events from there on for as long as any come. */
export function useFeed(id: string, state: State | undefined) {
  const kept = useMetrics(id);
  const feed = useMemo(() => {
    const made = new Feed();
    if (kept.data !== undefined) made.load(kept.data);
    return made;
  }, [kept.data]);
  const after = String(kept.data?.last_event ?? -1);
  const path = kept.data === undefined ? null : address(id, `/events?after=${after}`);
  const link = useEvents<RunEvent>(path, ({ id: number, data }) => { feed.hear(number, data); }, state !== undefined && LIVE.includes(state) ? "live" : "over");
  return { kept, feed, link };
}

/** Measurements of other runs to lay over or beside: as they were when asked. */
export function useOthers(ids: string[]) {
  return useQueries({
    queries: ids.map((id) => ({
      queryKey: ["run", id, "metrics", POINTS, ""],
      queryFn: ({ signal }: { signal: AbortSignal }) => get<Metrics>(address(id, `/metrics?points=${String(POINTS)}`), signal),
      refetchInterval: OTHERS_MS,
    })),
    combine: feedsOf,
  });
}

function feedsOf(answers: { data: Metrics | undefined; error: Error | null }[]) {
  const feeds = answers.map(({ data }) => {
    const made = new Feed();
    if (data !== undefined) made.load(data);
    return made;
  });
  return { feeds, waiting: answers.some(({ data }) => data === undefined), error: answers.find(({ error }) => error !== null)?.error ?? null };
}

export function useNotes(feed: Feed): readonly Told[] {
  return useSyncExternalStore(feed.subscribe, () => feed.notes);
}

export function useSmoothing(feeds: Feed[], weight: number): void {
  useEffect(() => { feeds.forEach((feed) => { feed.smoothing(weight); }); }, [feeds, weight]);
}

/** A change of a run; what the server says then is shown. */
export function useChange<B = undefined>(method: "POST" | "PATCH" | "DELETE", path: string, done?: (answer: unknown) => void) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: (body: B) => send<unknown>(method, path, body),
    onSuccess: (answer) => {
      done?.(answer);
      void cache.invalidateQueries({ queryKey: ["runs"] });
      if (method !== "DELETE") void cache.invalidateQueries({ queryKey: ["run"], predicate: ({ queryKey }) => queryKey[2] !== "metrics" });
    },
  });
}
