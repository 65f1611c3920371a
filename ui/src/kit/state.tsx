/** A state word with its colour, and how far something is. They know nothing of what is at work. */
import { Meter, Tag, type Tone } from "./parts";

const TONES: Partial<Record<string, Tone>> = {
  queued: "info", running: "accent", pausing: "warn", paused: "warn", succeeded: "good", failed: "bad", cancelled: "plain",
  ok: "good", open: "warn", unavailable: "bad", warn: "warn", fail: "bad", enabled: "good", changed: "warn", missing: "bad",
};

export function StateTag({ state }: { state: string }) {
  return <Tag tone={TONES[state] ?? "plain"}>{state}</Tag>;
}

/** A bar to the end of some work; without a share it only says that work goes on. Never red: being done is good. */
export function Progress({ label, share, text }: { label: string; share: number | null; text?: string | undefined }) {
  const told = text ?? (share === null ? "at work" : `${(100 * share).toFixed(0)} %`);
  return <Meter label={label} share={share ?? 0} text={told} tone="accent" role="progressbar" />;
}
