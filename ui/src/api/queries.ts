/** The cache of answers: what is asked again when, and what is not asked twice. */
import { QueryClient } from "@tanstack/react-query";

import { Problem } from "./http";

const RETRIES = 2;

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2000,
      retry: (failed, error) => failed < RETRIES && !(error instanceof Problem && error.status >= 400 && error.status < 500),
      refetchOnWindowFocus: true,
    },
  },
});
