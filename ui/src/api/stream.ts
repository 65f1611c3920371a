/** Chat answers as they come, from the OpenAI route; stopping it closes the connection and so the work. */
import { ask } from "./http";

export interface Delta {
  text: string;
  reasoning: string;
  tools: { index: number; id?: string; name?: string; arguments: string }[];
  finish: string | null;
  usage: { prompt_tokens: number; completion_tokens: number } | null;
  model: string;
}

interface Wire {
  model?: string;
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null; tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[] };
    finish_reason?: string | null;
  }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  error?: { message: string };
}

type Choice = NonNullable<Wire["choices"]>[number];

function toolsOf(choice: Choice | undefined): Delta["tools"] {
  return (choice?.delta?.tool_calls ?? []).map(({ index, id, function: f }) => ({
    index,
    arguments: f?.arguments ?? "",
    ...(id === undefined ? {} : { id }),
    ...(f?.name === undefined ? {} : { name: f.name }),
  }));
}

function deltaOf(wire: Wire): Delta {
  const choice = wire.choices?.[0];
  const { content, reasoning_content: thought } = choice?.delta ?? {};
  return {
    text: content ?? "",
    reasoning: thought ?? "",
    tools: toolsOf(choice),
    finish: choice?.finish_reason ?? null,
    usage: wire.usage ?? null,
    model: wire.model ?? "",
  };
}

/** Yields deltas; `comments` gets what the server tells beside the protocol (deviations, cost). */
export async function* chat(body: Record<string, unknown>, signal: AbortSignal, comment: (text: string) => void): AsyncGenerator<Delta> {
  const options = { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }) };
  const answer = await ask("/v1/chat/completions", options);
  if (answer.body === null) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith(":")) comment(line.slice(1).trim());
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const wire = JSON.parse(data) as Wire;
      if (wire.error !== undefined) throw new Error(wire.error.message);
      yield deltaOf(wire);
    }
  }
}
