/** A talk as code for other programs, and as a training row. */
import type { ChatMessage } from "../../api/types";
import { bodyOf, readTools } from "./params";
import type { Setup } from "./setup";
import { wireOf } from "./words";

function python(value: unknown, indent = 0): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = " ".repeat(indent + 4);
  const entries = Array.isArray(value)
    ? value.map((v) => inner + python(v, indent + 4))
    : Object.entries(value).filter(([, v]) => v !== undefined).map(([k, v]) => `${inner}${JSON.stringify(k)}: ${python(v, indent + 4)}`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  return entries.length === 0 ? open + close : `${open}\n${entries.join(",\n")},\n${" ".repeat(indent)}${close}`;
}

/** What stands last before an answer: the request that was, or would be, sent. */
export function requestOf(path: ChatMessage[], setup: Setup, column: number): Record<string, unknown> {
  const asked = path.at(-1)?.role === "assistant" ? path.slice(0, -1) : path;
  return bodyOf(setup.models[column] ?? "", wireOf(asked, setup.system), setup.params, readTools(setup.tools).tools);
}

const CALLS = `
        for call in choice.delta.tool_calls or []:
            print(call.function.name or "", call.function.arguments, end="", flush=True)`;
const KNOWN = new Set(["model", "messages", "temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "presence_penalty", "tools"]);

export function asOpenai(request: Record<string, unknown>, origin: string): string {
  const entries = Object.entries(request);
  const own = entries.filter(([k]) => KNOWN.has(k)).map(([k, v]) => `    ${k}=${python(v, 4)},`);
  const extra = entries.filter(([k]) => !KNOWN.has(k));
  const rest = extra.length === 0 ? [] : [`    extra_body=${python(Object.fromEntries(extra), 4)},`];
  return `import os

from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(`${origin}/v1`)}, api_key=os.environ.get("STEAD_API_KEY", "none"))
stream = client.chat.completions.create(
${[...own, ...rest].join("\n")}
    stream=True,
)
for chunk in stream:
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)${"tools" in request ? CALLS : ""}
`;
}

/** The body comes by standard input: a picture is longer than what a command line holds. */
export function asCurl(request: Record<string, unknown>, origin: string): string {
  return `curl ${origin}/v1/chat/completions \\
  -H "Authorization: Bearer $STEAD_API_KEY" \\
  -H "Content-Type: application/json" \\
  --data-binary @- <<'JSON'
${JSON.stringify(request, null, 2)}
JSON
`;
}

export function asGateway(request: Record<string, unknown>, origin: string): string {
  const { model, messages, ...options } = request;
  const told = Object.entries(options).map(([k, v]) => `    ${k}=${python(v, 4)},\n`).join("");
  const calls = "tools" in options ? "\nprint(reply.choices[0].message.tool_calls)" : "";
  return `import os

import stead

messages = ${python(messages)}
with stead.Gateway(${python(model)}, url=${JSON.stringify(origin)}, api_key=os.environ.get("STEAD_API_KEY")).sync as gateway:
    reply = gateway.generate(
        messages,
${told.replaceAll(/^/gm, "    ").trimEnd()}
    )
print(reply.text)${calls}
`;
}

/** One row per column, as `stead train` reads it. */
export function asRows(paths: ChatMessage[][], setup: Setup): string {
  const { tools } = readTools(setup.tools);
  return paths
    .filter((path) => path.some((m) => m.role === "assistant"))
    .map((path) => JSON.stringify({ messages: wireOf(path, setup.system), ...(tools.length === 0 ? {} : { tools }) }))
    .map((row) => `${row}\n`)
    .join("");
}
