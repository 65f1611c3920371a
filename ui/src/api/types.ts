/**
 * The names that pages use for what the server answers. The shapes are generated from its description (`make client`);
 * only what the server keeps as it was given, which the pages alone know, is written here.
 */
import type { components } from "./schema";

type Schemas = components["schemas"];

export interface List<T> {
  items: T[];
  next: string | null;
  total: number;
}

// jobs, runs, plans
export type Job = Schemas["Job"];
export type Told = Schemas["Fault"];
export type State = Job["state"];
export type Interval = Schemas["Forecast"]["seconds"];
export type Run = Schemas["Run"];
export type Started = Schemas["Started"];
export type Checkpoint = Schemas["Checkpoint"];
export type Artifact = Schemas["Artifact"];
export type Comparison = Schemas["Comparison"];
export type Metrics = Schemas["Metrics"];
export type Fix = Schemas["Fix"];
export type Warned = Schemas["Warned"];
export type Fit = Schemas["Verdict"];
export type PlanInfo = Schemas["PlanInfo"];
export type Planned = Schemas["Planned"];

/** One line of a run's stream of events, which no description of routes can tell. */
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

// home, settings, people
export type HomeView = Schemas["Home"];
export type Hardware = Schemas["Hardware"];
export type Gpu = Schemas["Gpu"];
export type Hint = Schemas["Hint"];
export type Setting = Schemas["Setting"];
export type SettingChange = Schemas["SettingChange"];
export type Check = Schemas["Finding"];
export type Plugin = Schemas["PluginInfo"];
export type Me = Schemas["Me"];
export type Role = Me["role"];
export type User = Schemas["UserInfo"];
export type Token = Schemas["TokenInfo"];

// models
export type Model = Schemas["Model"];
export type ModelVersion = Schemas["VersionInfo"];
export type ModelCard = Schemas["Card"];
export type LineageStep = Schemas["LineageStep"];
export type Verified = Schemas["Verified"];
export type HubModel = Schemas["HubModel"];
export type HubToken = Schemas["HubToken"];
export type CatalogModel = Schemas["CatalogModel"];

// data sets, extensions
export type Dataset = Schemas["Dataset"];
export type DataProblem = Schemas["BadRow"];
export type DataRow = Schemas["RawRow"];
export type Duplicates = Schemas["Duplicates"];
export type DataStatistics = Schemas["Statistics"];
export type MaskRow = Schemas["Mask"];
export type MaskToken = Schemas["Token"];
export type Kind = Schemas["Extension"];
export type Kinds = Partial<Record<string, Kind[]>>;

// evaluations
export type Evaluation = Schemas["Evaluation"];
export type EvaluationSummary = Schemas["Summary"];
export type Score = Schemas["Score"];
export type Verdict = NonNullable<Score["verdict"]>;
export type AnswerRow = Schemas["AnswerRow"];
export type Scores = AnswerRow["scores"];

// gateway
export type StrategyHead = Schemas["StrategyHead"];
export type Strategy = Schemas["Strategy"];
export type StrategyPart = Schemas["Part"];
export type Outlook = Schemas["Outlook"];
export type Provider = Schemas["Provider"];
export type Key = Schemas["KeyInfo"];
export type SpendRow = Schemas["SpendLine"];
export type SeenRequest = Schemas["Asked"];

// chats: the server keeps settings and contents as the Playground gives them
export type Askable = Schemas["Askable"];
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
export interface ChatMessage extends Omit<Schemas["Message"], "content" | "usage" | "deviations"> {
  content: string | Part[];
  usage: AnswerUsage | null;
  deviations: Deviation[];
}
export interface ChatHead extends Omit<Schemas["ChatHead"], "settings"> {
  settings: ChatSettings;
}
export interface Chat extends ChatHead {
  messages: ChatMessage[];
}
