/** The lists that several pages choose from, each asked once and kept under one key. */
import { useQuery } from "@tanstack/react-query";

import { get } from "./http";
import { isDone } from "./jobs";
import type { Dataset, Hardware, Job, Kinds, List, Model } from "./types";

const LONG_MS = 60_000;
const SOON_MS = 1000;

export function useModels() {
  return useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get<List<Model>>("/api/models?limit=1000", signal) });
}

export function useDatasets() {
  return useQuery({ queryKey: ["datasets"], queryFn: ({ signal }) => get<List<Dataset>>("/api/datasets?limit=1000", signal) });
}

/** Readers, formats, scorers, … with what makes one unavailable. */
export function useKinds() {
  return useQuery({ queryKey: ["kinds"], queryFn: ({ signal }) => get<Kinds>("/api/kinds", signal), staleTime: LONG_MS });
}

export function useHardware() {
  return useQuery({ queryKey: ["hardware"], queryFn: ({ signal }) => get<Hardware>("/api/hardware", signal), staleTime: 10_000 });
}

const PLAIN = ["sft", "dpo", "kto", "pretrain"]; // before others that take the same rows

/** The method that rows of this kind are made for, when there is one here. */
export function methodFor(kinds: Kinds | undefined, rows: string | null | undefined): string | null {
  if (rows === null || rows === undefined) return null;
  const fit = (kinds?.method ?? []).filter((m) => m.available && m.takes.includes(rows)).map((m) => m.name);
  return PLAIN.find((name) => fit.includes(name) && (rows !== "text" || name === "pretrain")) ?? fit[0] ?? null;
}

/** A job, asked again every second until it has ended. */
export function useJob(id: string | null) {
  return useQuery({
    queryKey: ["jobs", id],
    queryFn: ({ signal }) => get<Job>(`/api/jobs/${encodeURIComponent(id ?? "")}`, signal),
    enabled: id !== null,
    refetchInterval: (query) => (query.state.data !== undefined && isDone(query.state.data) ? false : SOON_MS),
  });
}
