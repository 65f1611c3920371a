/**
 * What is known of a run's measurements: what the server kept, thinned, then every event as it comes.
 * Lives outside of React, so that a hundred points a second cost no rendering; who draws subscribes.
 */
import type { Metrics, RunEvent } from "../../api/types";
import type { Source } from "../../kit/curves";
import { Series } from "../../kit/series";

export interface Told {
  id: number;
  time: number;
  tone: "info" | "warn" | "bad" | "good";
  text: string;
}
const NOTES = 200;

const EXACT = new Set(["lr", "epoch", "peak_rss_mib", "peak_gpu_mib"]);

/** Held-out losses are few and steady, and what is set or counted has no noise: a mean over them would only lag. */
export function weightOf(key: string, weight: number): number {
  return key.startsWith("eval") || EXACT.has(key) ? 0 : weight;
}

const NOTED: Partial<Record<RunEvent["event"], (event: RunEvent) => Pick<Told, "tone" | "text">>> = {
  note: ({ level, message }) => ({ tone: level === "warning" ? "warn" : "info", text: message ?? "" }),
  saved: ({ what, path }) => ({ tone: "good", text: `saved ${what ?? ""} ${path ?? ""}` }),
  failed: ({ error }) => ({ tone: "bad", text: error?.message ?? "failed" }),
  started: ({ stage }) => ({ tone: "info", text: `${stage} began` }),
  finished: ({ stage }) => ({ tone: "good", text: `${stage} ended` }),
};

function noteOf(id: number, event: RunEvent): Told | null {
  const found = NOTED[event.event]?.(event);
  return found === undefined ? null : { id, time: event.time, ...found };
}

export class Feed implements Source {
  readonly series = new Map<string, Series>();
  keys: readonly string[] = []; // a new list when a key is new, so that it can be watched
  notes: readonly Told[] = [];
  #listeners = new Set<() => void>();
  #weight = 0;
  #known = -1; // the last step that the server's series had: events up to it are told again

  subscribe = (tell: () => void): (() => void) => {
    this.#listeners.add(tell);
    return () => { this.#listeners.delete(tell); };
  };

  load({ steps, series }: Metrics): void {
    for (const [key, values] of Object.entries(series)) {
      values.forEach((value, i) => { if (value !== null) this.#of(key).append(steps[i] ?? i, value); });
    }
    this.#known = steps.at(-1) ?? -1;
    this.#tell();
  }

  hear(id: number, event: RunEvent): void {
    const note = noteOf(id, event);
    if (note !== null) this.notes = [...this.notes.slice(1 - NOTES), note];
    if (event.event === "progress" && event.stage === "train") this.#measure(event.done ?? 0, event.values ?? {});
    this.#tell();
  }

  smoothing(weight: number): void {
    this.#weight = weight;
    for (const [key, one] of this.series) one.smoothing(weightOf(key, weight));
    this.#tell();
  }

  #measure(step: number, values: Record<string, number>): void {
    if (step <= this.#known) return;
    this.#known = -1; // from here on a lower step means that the run went back
    for (const [key, value] of Object.entries(values)) this.#of(key).append(step, value);
  }

  #of(key: string): Series {
    const known = this.series.get(key);
    if (known !== undefined) return known;
    const made = new Series();
    made.smoothing(weightOf(key, this.#weight));
    this.series.set(key, made);
    this.keys = [...this.series.keys()];
    return made;
  }

  #tell(): void {
    this.#listeners.forEach((tell) => { tell(); });
  }
}
