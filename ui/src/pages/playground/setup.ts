/** What a chat is asked with: models, system prompt, parameters, tools. */
import type { ChatSettings } from "../../api/types";

export interface Setup {
  models: string[];
  system: string;
  params: Record<string, unknown>;
  tools: string;
}

export const MOST_MODELS = 3;

export function setupOf(settings: ChatSettings | undefined, first: string | undefined): Setup {
  const models = settings?.models ?? [];
  return {
    models: models.length > 0 ? models : first === undefined ? [] : [first],
    system: settings?.system ?? "",
    params: settings?.params ?? {},
    tools: settings?.tools ?? "",
  };
}
