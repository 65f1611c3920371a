/** What the run would need, beside what this machine has; warnings with what helps. */
import type { UseQueryResult } from "@tanstack/react-query";

import { Problem } from "../../api/http";
import type { Fix, Hardware, Interval, PlanInfo, Planned, Fit, Warned } from "../../api/types";
import { Button, Facts, Note, Panel, Spinner, Tag } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { bytes, count, seconds, short } from "../../kit/words";
import { at } from "./recipe";

const TONES = { "fits": "good", "may not fit": "warn", "does not fit": "bad" } as const;

function percent(part: number, whole: number): string {
  return `${Math.min(100, Math.max(0, (100 * part) / whole)).toFixed(2)}%`;
}

/** Where what is free ends, and what others have taken behind it. */
function Free({ free, all, whole }: { free: number; all: number; whole: number }) {
  return (
    <>
      <span className="taken" style={{ left: percent(free, whole), width: percent(all - free, whole) }} />
      <span className="free" style={{ left: percent(free, whole) }} />
    </>
  );
}

/** A forecast on the machine's own scale: the likely range, the best guess, what is free and what there is. */
function Need({ label, need, verdict, all }: { label: string; need: Interval; verdict: Fit | undefined; all: number | undefined }) {
  const [low, middle, high] = need;
  const free = verdict?.have_bytes;
  const whole = Math.max(all ?? 0, free ?? 0, high * 1.05, 1);
  const tone = verdict === undefined ? "good" : TONES[verdict.verdict];
  const text = `about ${bytes(middle)}, ${bytes(low)} to ${bytes(high)}${free === undefined ? "" : `; ${bytes(free)} free`}${all === undefined ? "" : ` of ${bytes(all)}`}`;
  return (
    <div className="stack tight">
      <div className="row spread small"><strong>{label}</strong>{verdict === undefined ? null : <Tag tone={tone}>{verdict.verdict}</Tag>}</div>
      <div className={`need ${tone}`} role="img" aria-label={`${label}: ${text}`}>
        <span className="likely" style={{ left: percent(low, whole), width: percent(high - low, whole) }} />
        <span className="guess" style={{ width: percent(middle, whole) }} />
        {free === undefined ? null : <Free free={free} all={all ?? whole} whole={whole} />}
      </div>
      <div className="small soft">{text}</div>
    </div>
  );
}

function Warning({ told, onFix }: { told: Warned; onFix: (fix: Fix) => void }) {
  const { fix } = told;
  return (
    <Note tone={told.code === "note" ? "info" : "warn"}>
      <div className="stack tight">
        <div>{told.message}</div>
        {fix === null ? null : <div><Button small onClick={() => { onFix(fix); }}>Set {fix.field} to {String(fix.value)}</Button></div>}
      </div>
    </Note>
  );
}

/** The machine's whole memory where the run would be: its card's, or the main memory. */
function memoryOf(plan: PlanInfo, hardware: Hardware | undefined): number | undefined {
  const device = at(plan.config, "model.device");
  return device === "cuda" ? hardware?.gpus[0]?.memory_bytes : hardware?.ram_bytes;
}

function Found({ plan, hardware, onFix }: { plan: PlanInfo; hardware: Hardware | undefined; onFix: (fix: Fix) => void }) {
  const { forecast: need, verdicts, warnings } = plan;
  const of = (name: string) => verdicts.find((v) => v.allow === name);
  const [fast, likely, slow] = need.seconds;
  return (
    <div className="stack">
      <Need label="Memory" need={need.memory_bytes} verdict={of("memory")} all={memoryOf(plan, hardware)} />
      <Need label="Disk" need={need.disk_bytes} verdict={of("disk")} all={hardware?.disk_bytes} />
      <Facts items={[
        ["Time", `about ${seconds(likely)}, ${seconds(fast)} to ${seconds(slow)}`], ["Steps", count(need.steps)],
        ["Tokens", `${short(need.tokens)} in all`], ["Plan", <code key="h">{plan.hash.slice(0, 12)}</code>],
      ]}
      />
      {Object.entries(need.basis ?? {}).length === 0 ? null : (
        <details className="small soft"><summary>What the forecast rests on</summary><ul>{Object.entries(need.basis ?? {}).map(([name, why]) => <li key={name}>{name.split("_")[0]}: {why}</li>)}</ul></details>
      )}
      {warnings.map((w) => <Warning key={`${w.code} ${w.message}`} told={w} onFix={onFix} />)}
    </div>
  );
}

interface Props {
  plan: UseQueryResult<Planned>;
  isOld: boolean;
  missing: string | null;
  hardware: Hardware | undefined;
  refused: { message: string }[];
  onFix: (fix: Fix) => void;
}

/** Why there is no plan: what is wrong in the recipe, line by line, or what went wrong on the way. */
function NoPlan({ error, refused }: { error: unknown; refused: { message: string }[] }) {
  const hint = error instanceof Problem ? error.hint : null;
  if (refused.length === 0) return <div className="told"><Fault error={error} /></div>;
  return (
    <Note tone="bad">
      <p>This recipe cannot run:</p>
      <ul>{refused.map(({ message }) => <li key={message}>{message}</li>)}</ul>
      {hint === null ? null : <p className="small">hint: <code>{hint}</code></p>}
    </Note>
  );
}

export function PlanPanel({ plan, isOld, missing, hardware, refused, onFix }: Props) {
  const busy = isOld && missing === null ? <span className="small soft" role="status"><span className="spin" aria-hidden /> planning</span> : null;
  const shown = plan.data !== undefined && !plan.isError ? <div className={isOld ? "old" : undefined}><Found plan={plan.data.plan} hardware={hardware} onFix={onFix} /></div> : null;
  return (
    <Panel title="Plan" actions={busy}>
      {missing !== null ? <p className="soft">{missing}</p> : plan.isError ? <NoPlan error={plan.error} refused={refused} /> : shown ?? <Spinner label="planning" />}
    </Panel>
  );
}
