/** What a chat is asked with: models, system prompt, parameters, tools. */
import type { ChatSettings } from "../../api/types";

export interface Setup {
  models: string[];
  system: string;
  params: Record<string, unknown>;
  tools: string;
}

export const MOST_MODELS = 3;

const BARE: Setup = { models: [], system: "", params: {}, tools: "" };

/** What a chat keeps of it; one without models takes those asked for. */
export function setupOf(settings: ChatSettings | undefined, asked: string[]): Setup {
  const { models, system, params, tools } = { ...BARE, ...settings };
  return { models: models.length > 0 ? models : asked.slice(0, MOST_MODELS), system, params, tools };
}
