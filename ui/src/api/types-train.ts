/** Answers that only these pages read. */
import type { Interval, Job, Run } from "./types";

export * from "./types";

// runs: what is measured, saved and told; what a start answers
export interface Started {
  job: Job;
  run: Run;
}

export interface Metrics {
  steps: number[];
  series: Record<string, (number | null)[]>;
  last_event?: number; // number of the newest event that the series hold
}

export interface RunEvent {
  event: "started" | "progress" | "note" | "saved" | "finished" | "failed";
  stage: string;
  time: number;
  done?: number;
  values?: Record<string, number>;
  message?: string;
  level?: string;
  path?: string;
  what?: string;
  error?: { code?: string; message?: string; hint?: string | null };
}

export interface Checkpoint {
  name: string;
  step: number;
  bytes: number;
  created: string;
}

export interface Artifact {
  name: string;
  bytes: number;
  created: string;
}

export interface Comparison {
  runs: Run[];
  differences: { field: string; values: unknown[] }[];
  series: Record<string, [number, number][]>;
}

// plans
export interface Fix {
  field: string;
  value: string | number | boolean;
}

export interface Warned {
  code: string;
  message: string;
  fix: Fix | null;
}

export interface Verdict {
  allow: string;
  verdict: "fits" | "may not fit" | "does not fit";
  where: string;
  have_bytes: number;
  expected_bytes: number;
  sure: boolean;
  hint?: string;
}

export interface Forecast {
  memory_bytes: Interval;
  seconds: Interval;
  disk_bytes: Interval;
  step_seconds?: Interval;
  steps: number;
  tokens: number;
  basis?: Record<string, string>;
}

export interface PlanInfo {
  hash: string;
  config: Record<string, unknown>;
  origins: Record<string, string>;
  forecast: Forecast;
  verdicts: Verdict[];
  warnings: Warned[];
}

export interface Planned {
  plan: PlanInfo;
  yaml: string;
}

export interface Kind {
  name: string;
  summary: string;
  available: boolean;
  reason: string | null;
  hint: string | null;
}
