/** Answers that only these pages read. */
import type { Interval, Job, List, Run } from "./types";

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

// chats
export interface ChatSettings {
  models?: string[];
  system?: string;
  params?: Record<string, unknown>;
  tools?: string;
  /** The last message of each column; one column per model. */
  leaves?: (string | null)[];
}

export type Part =
  | { type: "text"; text: string }
  | { type: "image_url"; image_url: { url: string } }
  | { type: "reasoning"; text: string }
  | { type: "tool_call"; id: string; name: string; arguments: string }
  | { type: "tool_result"; tool_call_id: string; name: string; text: string };

export interface AnswerUsage {
  prompt_tokens?: number;
  completion_tokens?: number;
  first_s?: number | null;
  seconds?: number;
  tokens_per_s?: number | null;
  cost_usd?: number | null;
  finish?: string | null;
  asked?: string;
}

export interface Deviation {
  kind: string;
  detail: string;
}

export interface ChatMessage {
  id: string;
  parent: string | null;
  role: "user" | "assistant" | "tool" | "system";
  content: string | Part[];
  model: string | null;
  usage: AnswerUsage | null;
  deviations: Deviation[];
  created: string;
}

export interface ChatHead {
  id: string;
  title: string;
  created: string;
  updated: string;
  settings: ChatSettings;
}

export interface Chat extends ChatHead {
  messages: ChatMessage[];
}

export interface Askable {
  id: string;
  name?: string;
  kind?: string;
  reason?: string | null;
}

// strategies and providers
export interface StrategyHead {
  name: string;
  description: string;
  in_use: boolean;
  use_cases: string[];
  off: Record<string, string>;
  shipped: boolean;
}

export interface StrategyPart {
  name: string;
  type: string;
  model: string;
  reason: string;
}

export interface Strategy extends StrategyHead {
  yaml: string;
  parts: StrategyPart[];
}

export interface Outlook {
  sample: string;
  steps: { name: string; model: string; place: string; dollars: number | null }[];
  rules: string[];
  skipped: Record<string, string>;
  error: string;
}

export interface Provider {
  name: string;
  state: "ok" | "open" | "unavailable";
  reason: string | null;
  p50_ms: number | null;
  error_rate: number | null;
  requests: number;
}

// keys, spend, requests
export interface KeyLimits {
  models: string[] | null;
  rpm: number | null;
  tpm: number | null;
  concurrency: number | null;
  daily_budget_usd: number | null;
  monthly_budget_usd: number | null;
  expires: string | null;
}

export interface Key extends KeyLimits {
  id: string;
  name: string;
  created: string;
  revoked: string | null;
}

export interface MadeKey extends Key {
  key: string;
}

export interface SpendRow {
  label: string;
  requests: number;
  tokens: number;
  usd: number;
}

export interface SeenRequest {
  number: number;
  at: string;
  id: string;
  route: string;
  model: string;
  status: number;
  code: string;
  seconds: number;
  first_s: number | null;
  key: string;
  prompt_tokens: number | null;
  completion_tokens: number | null;
}

export type Paged<T> = List<T>;
