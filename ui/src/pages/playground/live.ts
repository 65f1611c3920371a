/** Answers on their way: they go on when another page is opened, until they end or are stopped. */
import { useSyncExternalStore } from "react";

import { chat as stream, type Delta } from "../../api/stream";
import type { AnswerUsage, Deviation, Part } from "../../api/types";

export interface Live {
  model: string;
  parent: string | null;
  text: string;
  reasoning: string;
  calls: Extract<Part, { type: "tool_call" }>[];
  usage: AnswerUsage;
  deviations: Deviation[];
  served: string;
  state: "waiting" | "writing" | "stopped" | "done" | "failed";
  error: unknown;
}

interface Told {
  model?: string;
  deviations?: Deviation[];
  cost_usd?: string | number;
}

interface Running {
  shown: Live;
  stop: AbortController;
}

const running = new Map<string, Running>();
const listeners = new Set<() => void>();
let version = 0;
let due = false;

function tell(): void {
  if (due) return; // as often as the screen is drawn, not per token
  due = true;
  requestAnimationFrame(() => {
    due = false;
    version += 1;
    listeners.forEach((listener) => { listener(); });
  });
}

function nameOf(chat: string, column: number): string {
  return `${chat} ${String(column)}`;
}

function call(live: Live, delta: Delta["tools"][number]): Live["calls"] {
  const calls = [...live.calls];
  const old = calls[delta.index] ?? { type: "tool_call", id: "", name: "", arguments: "" };
  calls[delta.index] = { ...old, id: delta.id ?? old.id, name: delta.name ?? old.name, arguments: old.arguments + delta.arguments };
  return calls;
}

/** Without what no store keeps: a badly trained model may write NUL. */
function storable(text: string): string {
  return text.replaceAll("\0", "\uFFFD");
}

function taken(live: Live, delta: Delta): Live {
  const usage: AnswerUsage = { ...live.usage, ...delta.usage, finish: delta.finish ?? live.usage.finish ?? null };
  return {
    ...live,
    usage,
    state: "writing",
    text: live.text + storable(delta.text),
    reasoning: live.reasoning + storable(delta.reasoning),
    calls: delta.tools.reduce((calls, one) => call({ ...live, calls }, one), live.calls),
    served: delta.model === "" ? live.served : delta.model,
  };
}

function heard(live: Live, comment: string): Live {
  if (!comment.startsWith("stead ")) return live;
  const told = JSON.parse(comment.slice(6)) as Told;
  const cost = told.cost_usd === undefined ? {} : { cost_usd: Number(told.cost_usd) };
  return { ...live, usage: { ...live.usage, ...cost }, deviations: told.deviations ?? [], served: told.model ?? live.served };
}

class Watch {
  private readonly begun = performance.now();
  private first: number | null = null;

  saw(delta: Delta): void {
    if (this.first === null && (delta.text !== "" || delta.reasoning !== "" || delta.tools.length > 0)) this.first = performance.now();
  }

  times(tokens: number | undefined): Partial<AnswerUsage> {
    const now = performance.now();
    const seconds = (now - this.begun) / 1000;
    if (this.first === null) return { seconds, first_s: null, tokens_per_s: null };
    const writing = (now - this.first) / 1000;
    const rate = tokens === undefined || tokens < 2 || writing <= 0 ? null : (tokens - 1) / writing;
    return { seconds, first_s: (this.first - this.begun) / 1000, tokens_per_s: rate };
  }
}

function begin(model: string, parent: string | null): Live {
  return { model, parent, text: "", reasoning: "", calls: [], usage: { asked: model }, deviations: [], served: "", state: "waiting", error: null };
}

/** Ask one model in one column; resolves with what came, also when it was stopped or failed on the way. */
export async function answer(chat: string, column: number, parent: string | null, body: Record<string, unknown>): Promise<Live> {
  const own: Running = { shown: begin(String(body.model), parent), stop: new AbortController() };
  const put = (next: Live) => { own.shown = next; tell(); };
  running.set(nameOf(chat, column), own);
  tell();
  const watch = new Watch();
  try {
    for await (const delta of stream(body, own.stop.signal, (comment) => { put(heard(own.shown, comment)); })) {
      watch.saw(delta);
      put(taken(own.shown, delta));
    }
    put({ ...own.shown, state: "done" });
  } catch (error) {
    put(own.stop.signal.aborted ? { ...own.shown, state: "stopped" } : { ...own.shown, state: "failed", error });
  }
  put({ ...own.shown, usage: { ...own.shown.usage, ...watch.times(own.shown.usage.completion_tokens) } });
  return own.shown;
}

/** An answer that came but could not be kept stays to be seen, with the reason. */
export function unkept(chat: string, column: number, error: unknown): void {
  const own = running.get(nameOf(chat, column));
  if (own !== undefined) own.shown = { ...own.shown, state: "failed", error };
  tell();
}

/** Take an answer off the list, once it is kept elsewhere or no longer wanted. */
export function forget(chat: string, column: number): void {
  running.delete(nameOf(chat, column));
  tell();
}

export function stop(chat: string): void {
  for (const [name, { stop: end }] of running) if (name.startsWith(`${chat} `)) end.abort();
}

export function useLive(chat: string | null, columns: number): (Live | null)[] {
  useSyncExternalStore((listener) => { listeners.add(listener); return () => listeners.delete(listener); }, () => version);
  return Array.from({ length: columns }, (_, i) => (chat === null ? null : (running.get(nameOf(chat, i))?.shown ?? null)));
}

/** What is kept of an answer: its text alone where there is nothing else. */
export function contentOf(live: Live): string | Part[] {
  if (live.reasoning === "" && live.calls.length === 0) return live.text;
  const thought: Part[] = live.reasoning === "" ? [] : [{ type: "reasoning", text: live.reasoning }];
  const text: Part[] = live.text === "" ? [] : [{ type: "text", text: live.text }];
  return [...thought, ...text, ...live.calls.filter((c) => c.name !== "")];
}
