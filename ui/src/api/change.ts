/** A change at the server: told when it is done or refused, and what it makes stale is asked again. */
import { useMutation, useQueryClient } from "@tanstack/react-query";

import { useTell } from "../kit/toast";
import { Problem } from "./http";

export function told(error: unknown): string {
  if (error instanceof Problem && error.hint !== null) return `${error.message} · hint: ${error.hint}`;
  return error instanceof Error ? error.message : String(error);
}

interface Options<V, T> {
  act: (given: V) => Promise<T>;
  done?: (result: T, given: V) => string;
  stale?: string[]; // first words of the query keys
  quiet?: boolean; // the page shows the fault itself
}

export function useChange<V = void, T = unknown>({ act, done, stale = [], quiet = false }: Options<V, T>) {
  const tell = useTell();
  const cache = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSuccess: (result, given) => {
      if (done !== undefined) tell("good", done(result, given));
      return Promise.all(stale.map((key) => cache.invalidateQueries({ queryKey: [key] })));
    },
    onError: (error) => { if (!quiet) tell("bad", told(error)); },
  });
}
