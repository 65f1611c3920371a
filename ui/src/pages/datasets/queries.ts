/** What the pages of data sets ask the server. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { get, send, upload } from "../../api/http";
import type { DataRow, Dataset, DataStatistics, Duplicates, List, MaskRow } from "../../api/types";

export interface Reading {
  reader: string;
  format: string;
  columns: Record<string, string>;
}

/** What a data set is read by in fact. */
export function readAs(dataset: Dataset, what: "reader" | "format"): string {
  return dataset[what] === "auto" ? (dataset.detected[what] ?? "auto") : dataset[what];
}

/** How many rows are left out, for whatever reason. */
export function leftOut(dataset: Dataset): number {
  return Object.values(dataset.dropped).reduce((all, n) => all + n, 0);
}

export function path(id: string): string {
  return `/api/datasets/${encodeURIComponent(id)}`;
}

function query(values: Record<string, string | number>): string {
  return new URLSearchParams(Object.entries(values).map(([k, v]) => [k, String(v)])).toString();
}

export function useDataset(id: string) {
  return useQuery({ queryKey: ["datasets", id], queryFn: ({ signal }) => get<Dataset>(path(id), signal) });
}

export function useRows(id: string, offset: number, limit: number) {
  return useQuery({
    queryKey: ["datasets", id, "rows", offset, limit],
    queryFn: ({ signal }) => get<List<DataRow>>(`${path(id)}/rows?${query({ offset, limit })}`, signal),
    placeholderData: (before) => before,
  });
}

function cutAt(maxLength: number): { max_length?: number } {
  return maxLength > 0 ? { max_length: maxLength } : {};
}

export function useStatistics(id: string, model: string, maxLength: number) {
  const asked = { model, ...cutAt(maxLength) };
  return useQuery({
    queryKey: ["datasets", id, "statistics", asked],
    queryFn: ({ signal }) => get<DataStatistics>(`${path(id)}/statistics?${query(asked)}`, signal),
    enabled: model !== "",
    staleTime: Infinity,
  });
}

export function useMask(id: string, model: string, row: number, maxLength: number) {
  const asked = { model, row, ...cutAt(maxLength) };
  return useQuery({
    queryKey: ["datasets", id, "mask", asked],
    queryFn: ({ signal }) => get<MaskRow>(`${path(id)}/mask?${query(asked)}`, signal),
    enabled: model !== "",
    placeholderData: (before) => before,
  });
}

/** A change of data sets; what was known of them is asked again. */
function useChange<In, Out>(change: (input: In) => Promise<Out>) {
  const cache = useQueryClient();
  return useMutation({ mutationFn: change, onSuccess: () => cache.invalidateQueries({ queryKey: ["datasets"] }) });
}

export function useUpload(onProgress: (share: number) => void) {
  return useChange(({ file, name }: { file: File; name: string }) => {
    const form = new FormData();
    form.append("name", name);
    form.append("file", file);
    return upload<Dataset>("/api/datasets", form, onProgress);
  });
}

export function useReread(id: string) {
  return useChange((reading: Reading) => send<Dataset>("PATCH", path(id), reading));
}

export function useDelete(id: string) {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: () => send("DELETE", path(id)),
    onSuccess: () => {
      cache.removeQueries({ queryKey: ["datasets", id] });
      return cache.invalidateQueries({ queryKey: ["datasets"], exact: true });
    },
  });
}

export function useDuplicates(id: string) {
  return useQuery({ queryKey: ["datasets", id, "duplicates"], queryFn: ({ signal }) => get<Duplicates>(`${path(id)}/duplicates`, signal) });
}

export interface Cut {
  shares: Record<string, number>;
  seed: number;
}

export function useSplit(id: string) {
  return useChange((cut: Cut) => send<List<Dataset>>("POST", `${path(id)}/split`, cut));
}
