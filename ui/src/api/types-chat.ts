/** What the server tells the Playground and the Gateway. */
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
  context: number | null;
  vendor: string;
}

// strategies and providers
export interface StrategyHead {
  name: string;
  description: string;
  in_use: boolean;
  use_cases: string[];
  off: Record<string, string>;
  own: boolean;
}
export interface StrategyPart {
  name: string;
  type: string;
  model: string;
  reason: string;
}
export interface Strategy extends StrategyHead {
  yaml: string;
  note: string;
  parts: StrategyPart[];
}
export interface Outlook {
  input: string;
  steps: { name: string; model: string; place: string; usd: number | null }[];
  rules: string[];
  skipped: Record<string, string>;
  error: string;
}
export interface Provider {
  name: string;
  state: "ok" | "open" | "unavailable";
  reason: string;
  p50_ms: number | null;
  error_rate: number | null;
  requests: number;
}

// keys, spend, requests
export interface Key {
  id: string;
  name: string;
  models: string[] | null;
  rpm: number | null;
  tpm: number | null;
  concurrency: number | null;
  daily_usd: number | null;
  monthly_usd: number | null;
  created: string;
  expires: string | null;
  revoked: string | null;
  spent_usd: number;
  requests: number;
  key: string | null; // told once, when it is made
}
export interface SpendRow {
  label: string;
  requests: number;
  tokens: number;
  usd: number;
  unpriced: number;
  failed: number;
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
