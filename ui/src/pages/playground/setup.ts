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

/** What a chat keeps of it; one without models takes the first there is. */
export function setupOf(settings: ChatSettings | undefined, first: string | undefined): Setup {
  const { models, system, params, tools } = { ...BARE, ...settings };
  return { models: models.length > 0 || first === undefined ? models : [first], system, params, tools };
}
