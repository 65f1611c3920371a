/** Messages as the OpenAI route takes them, and as one text. Knows nothing about where they are kept. */
import type { ChatMessage, Part } from "../../api/types";

export interface WireMessage {
  role: string;
  content: string | Part[] | null;
  tool_calls?: { id: string; type: "function"; function: { name: string; arguments: string } }[];
  tool_call_id?: string;
  reasoning_content?: string;
}

export function partsOf(content: ChatMessage["content"]): Part[] {
  if (typeof content !== "string") return content;
  return content === "" ? [] : [{ type: "text", text: content }];
}

export function textOf(content: ChatMessage["content"]): string {
  return partsOf(content).map((p) => (p.type === "text" ? p.text : "")).join("");
}

export function ofType<K extends Part["type"]>(content: ChatMessage["content"], type: K): Extract<Part, { type: K }>[] {
  return partsOf(content).filter((p): p is Extract<Part, { type: K }> => p.type === type);
}

function answerOf(message: ChatMessage): WireMessage {
  const calls = ofType(message.content, "tool_call");
  const text = textOf(message.content);
  if (calls.length === 0) return { role: "assistant", content: text };
  return {
    role: "assistant",
    content: text === "" ? null : text,
    tool_calls: calls.map(({ id, name, arguments: given }) => ({ id, type: "function", function: { name, arguments: given } })),
  };
}

function resultsOf(message: ChatMessage): WireMessage[] {
  return ofType(message.content, "tool_result").map((r) => ({ role: "tool", tool_call_id: r.tool_call_id, content: r.text }));
}

/** A path of messages as a request's `messages`. Reasoning is not sent back: models do not expect it. */
export function wireOf(path: ChatMessage[], system: string): WireMessage[] {
  const said = path.flatMap((m): WireMessage[] => {
    if (m.role === "assistant") return [answerOf(m)];
    if (m.role === "tool") return resultsOf(m);
    return [{ role: m.role, content: m.content }];
  });
  return system.trim() === "" ? said : [{ role: "system", content: system }, ...said];
}
