/** Shows a query's answer, its waiting or its fault: the same on every page. */
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";

import { Spinner } from "./parts";
import { Fault } from "./problem";

export function Loaded<T>({ query, label, children }: { query: UseQueryResult<T>; label?: string; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.isError) return <Fault error={query.error} again={() => void query.refetch()} />;
  return <Spinner label={label ?? "loading"} />;
}
