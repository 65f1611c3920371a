/** What the page asks: the schema, what can be chosen, the plan of the recipe as it is now. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { ask, get } from "../../api/http";
import type { Planned } from "../../api/types";
import type { Schema } from "./fields";

const WAIT_MS = 450; // after the last key stroke

export function useSchema() {
  return useQuery({ queryKey: ["schema", "run"], queryFn: ({ signal }) => get<Schema>("/api/schema/run", signal), staleTime: Infinity });
}

function useSettled<T>(value: T): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => { setSettled(value); }, WAIT_MS);
    return () => { clearTimeout(timer); };
  }, [value]);
  return settled;
}

/** The plan of a text; an outdated question is cancelled, the former answer stays until the new one is there. */
export function usePlan(text: string, isReady: boolean) {
  const settled = useSettled(text);
  const plan = useQuery({
    queryKey: ["plan", settled],
    queryFn: async ({ signal }) => {
      const options = { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ yaml: settled }) };
      return (await (await ask("/api/plan", options)).json()) as Planned;
    },
    enabled: isReady && settled === text,
    placeholderData: keepPreviousData,
    staleTime: 20_000,
    retry: false,
  });
  return { plan, isOld: settled !== text || plan.isFetching };
}
