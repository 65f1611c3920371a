/** The parameters of a request: which there are, how they read, and the body they make. */
import type { WireMessage } from "./words";

export interface Param {
  key: string;
  name: string;
  help: string;
  step?: number;
  min?: number;
  max?: number;
  more?: boolean;
}

export const PARAMS: readonly Param[] = [
  { key: "temperature", name: "Temperature", help: "0 always takes the likeliest token", min: 0, max: 2, step: 0.05 },
  { key: "top_p", name: "Top p", help: "share of likelihood to choose from", min: 0, max: 1, step: 0.01 },
  { key: "max_tokens", name: "Longest answer", help: "in tokens", min: 1, step: 1 },
  { key: "seed", name: "Seed", help: "the same seed, the same answer", step: 1 },
  { key: "top_k", name: "Top k", help: "how many tokens to choose from", min: 0, step: 1, more: true },
  { key: "min_p", name: "Min p", help: "least likelihood, relative to the best", min: 0, max: 1, step: 0.01, more: true },
  { key: "frequency_penalty", name: "Frequency penalty", help: "against repeating words often", min: -2, max: 2, step: 0.1, more: true },
  { key: "presence_penalty", name: "Presence penalty", help: "against repeating words at all", min: -2, max: 2, step: 0.1, more: true },
  { key: "repeat_penalty", name: "Repeat penalty", help: "1 is none; local models", min: 0, max: 2, step: 0.05, more: true },
];

/** What is wrong with the tools' JSON, or the tools. */
export function readTools(text: string): { tools: unknown[]; fault?: string } {
  if (text.trim() === "") return { tools: [] };
  try {
    const found = JSON.parse(text) as unknown;
    if (!Array.isArray(found)) return { tools: [], fault: "a list is needed: [{\"type\": \"function\", …}]" };
    return { tools: found as unknown[] };
  } catch (error) {
    return { tools: [], fault: error instanceof Error ? error.message : "this is no JSON" };
  }
}

export function bodyOf(model: string, messages: WireMessage[], params: Record<string, unknown>, tools: unknown[]): Record<string, unknown> {
  return { model, messages, ...params, ...(tools.length === 0 ? {} : { tools }) };
}
