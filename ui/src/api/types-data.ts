/** What the server's answers look like, noun by noun. Times are ISO-8601 UTC, sizes `_bytes`, durations `_s`, money `_usd`. */

export interface List<T> {
  items: T[];
  next: string | null;
  total: number;
}

// jobs and runs
export type State = "queued" | "running" | "pausing" | "paused" | "succeeded" | "failed" | "cancelled";
export interface Told {
  code: string;
  message: string;
  hint: string | null;
}
export interface Job {
  id: string;
  kind: string;
  state: State;
  title: string;
  created: string;
  started: string | null;
  finished: string | null;
  progress: number | null;
  attempts: number;
  priority: number;
  error: Told | null;
  result: Record<string, unknown> | null;
  run: string | null;
  owner: string | null;
}
export type Interval = [number, number, number];
export interface Run {
  id: string;
  name: string;
  state: State;
  method: string;
  adapter: string | null;
  model: string;
  data: string;
  created: string;
  started: string | null;
  finished: string | null;
  step: number;
  steps: number | null;
  epoch: number | null;
  loss: number | null;
  eval_loss: number | null;
  lr: number | null;
  grad_norm: number | null;
  tokens: number | null;
  tokens_per_s: number | null;
  seconds_left: number | null;
  peak_bytes: number | null;
  forecast: { memory_bytes: Interval; seconds: Interval } | null;
  parent: string | null;
  tags: string[];
  out: string;
  error: Told | null;
  job: string | null;
}

// home
export interface Gpu {
  name: string;
  memory_bytes: number;
  memory_free_bytes: number;
  use: number | null;
}
export interface Hardware {
  cpu: string;
  cores: number;
  ram_bytes: number;
  ram_free_bytes: number;
  disk_bytes: number;
  disk_free_bytes: number;
  load: number | null;
  gpus: Gpu[];
  process_bytes: number | null;
}
export interface Hint {
  title: string;
  detail: string;
  href: string;
}
export interface HomeView {
  running: Run[];
  recent: Run[];
  queue: number;
  hardware: Hardware;
  spend: { today_usd: number; month_usd: number };
  hints: Hint[];
}

// models and the hub
export interface ModelVersion {
  version: string;
  hash: string;
  created: string;
  source: string;
  run: string | null;
}
export interface Model {
  name: string;
  path: string;
  kind: string;
  family: string;
  parameters: number;
  bytes: number;
  dtype: string;
  context: number;
  versions: ModelVersion[];
  aliases: Record<string, string>;
  adapters: string[];
  used_by: string[];
  source: string;
}
export interface HubModel {
  ref: string;
  name: string;
  downloads: number | null;
  likes: number | null;
  bytes: number | null;
  tags: string[];
  updated: string | null;
}

// settings
export interface Setting {
  key: string;
  value: unknown;
  default: unknown;
  origin: string;
  description: string;
  secret: boolean;
}
export interface Check {
  check: string;
  state: "ok" | "warn" | "fail";
  detail: string;
  hint: string | null;
}
export type Role = "admin" | "member" | "viewer";

// data sets
export interface DataProblem {
  line: string;
  code: string;
  message: string;
}
export interface Dataset {
  id: string;
  name: string;
  bytes: number;
  rows: number | null;
  /** "auto": as detected. */
  reader: string;
  format: string;
  detected: Partial<Record<"reader" | "format", string>>;
  explanation: string;
  columns: string[];
  mapping: Record<string, string>;
  /** The first ones by name; `dropped` counts all by reason. */
  problems: DataProblem[];
  dropped: Record<string, number>;
  kind: string | null;
  created: string;
}
export interface DataRow {
  row: number;
  where: string;
  fields: Record<string, unknown> | null;
  problem: DataProblem | null;
}
export interface Duplicates {
  rows: number;
  duplicates: number;
  groups: { count: number; lines: string[] }[];
  same_prompt: number;
}
export interface DataStatistics {
  rows: number;
  /** So many of the rows were counted in tokens. */
  encoded: number;
  tokens: number;
  label_tokens: number;
  lengths: Partial<Record<"p50" | "p90" | "p99" | "max", number>>;
  histogram: { from: number; to: number; count: number }[];
  dropped: { reason: string; count: number }[];
}
export interface MaskToken {
  id: number;
  text: string;
  trained: boolean;
  turn: number;
  column: string;
}
export interface MaskRow {
  row: number;
  text: string;
  tokens: MaskToken[];
  trained: number;
  total: number;
}

// what there is of each kind of extension
export interface KindEntry {
  name: string;
  summary: string;
  available: boolean;
  reason: string | null;
  hint: string | null;
}
export type Kinds = Record<string, KindEntry[]>;

// evaluations
export type Verdict = "better" | "worse" | "no difference shown";
/** One metric. Of one model: `value`; of two: both values, and `ci_low` to `ci_high` is the interval of `delta`. */
export interface Score {
  value?: number | null;
  base?: number | null;
  base_ci_low?: number | null;
  base_ci_high?: number | null;
  tuned?: number | null;
  tuned_ci_low?: number | null;
  tuned_ci_high?: number | null;
  delta?: number | null;
  ci_low: number | null;
  ci_high: number | null;
  p?: number;
  n: number;
  higher_is_better: boolean;
  level: number;
  verdict?: Verdict;
  method: string;
  signature: string;
}
export interface EvaluationSummary {
  metrics: Record<string, Score>;
  model: string;
  against: string | null;
  n: number;
  seconds: number;
}
export interface Evaluation {
  id: string;
  title: string;
  data: string;
  models: string[];
  metrics: string[];
  created: string;
  job: string | null;
  run: string | null;
  summary: EvaluationSummary | null;
}
export type Scores = Record<string, number | null>;
export interface AnswerRow {
  where: string;
  prompt: string;
  reference: string;
  answer: string;
  scores: Scores;
  base_answer?: string;
  base_scores?: Scores;
}
