/** Answers that only these pages read. */
export * from "./types";

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
