/** What the server's answers look like, noun by noun; these several pages share. Times are ISO-8601 UTC, sizes `_bytes`, durations `_s`, money `_usd`. */

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
  version: number;
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
  reason: string;
  versions: ModelVersion[];
  aliases: Record<string, number>;
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
  choices: string[];
}

export interface Check {
  check: string;
  state: "ok" | "warn" | "fail";
  detail: string;
  hint: string | null;
}

export type Role = "admin" | "member" | "viewer";
