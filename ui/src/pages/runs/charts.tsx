/** The curves of one or several runs: one chart per measurement, all under the same smoothing, scale and stretch. */
import { useMemo, useState, useSyncExternalStore } from "react";

import type { Metrics } from "../../api/types";
import { Curves, type Curve, type Source, type Stretch } from "../../kit/curves";
import { Button, Field, Note, Panel, Spinner } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { useKept } from "../../kit/kept";
import { Series } from "../../kit/series";
import { useMetrics, useSmoothing } from "./asking";
import { weightOf, type Feed } from "./feed";

export interface Shown {
  id: string;
  name: string;
  feed: Feed;
}
/** What a measurement is called in a legend. */
const NAMES: Partial<Record<string, string>> = {
  loss: "training", eval_loss: "held out", lr: "learning rate", grad_norm: "norm", tokens_per_s: "tokens/s", peak_rss_mib: "memory", peak_gpu_mib: "GPU memory", ceiling_share: "share",
};

function said(key: string): string {
  return NAMES[key] ?? key.replaceAll("_", " ");
}

interface Chart {
  title: string;
  keys: string[];
  log?: boolean;
}
const FIRST: Chart[] = [
  { title: "Loss", keys: ["loss", "eval_loss"] },
  { title: "Learning rate", keys: ["lr"] },
  { title: "Gradient norm", keys: ["grad_norm"] },
  { title: "Tokens per second", keys: ["tokens_per_s"] },
  { title: "Memory, MiB at most", keys: ["peak_rss_mib", "peak_gpu_mib"] },
  { title: "Speed as a share of what this machine can do", keys: ["ceiling_share"] },
];
const DULL = ["epoch", "tokens", "seconds_left"]; // they only rise or fall
const RECENT = 1000;

/** All runs' feeds as one thing to watch; the keys that any of them has. */
function useTogether(runs: Shown[]): { source: Source; keys: string[] } {
  const source = useMemo<Source>(() => ({
    subscribe: (tell) => {
      const stops = runs.map(({ feed }) => feed.subscribe(tell));
      return () => { stops.forEach((stop) => { stop(); }); };
    },
  }), [runs]);
  const told = useSyncExternalStore(source.subscribe, () => [...new Set(runs.flatMap(({ feed }) => feed.keys))].join("\n"));
  const keys = useMemo(() => (told === "" ? [] : told.split("\n")), [told]);
  return { source, keys };
}

function chartsOf(keys: string[]): Chart[] {
  const known = FIRST.map((c) => ({ ...c, keys: c.keys.filter((k) => keys.includes(k)) })).filter((c) => c.keys.length > 0);
  const others = keys.filter((k) => !DULL.includes(k) && !FIRST.some((c) => c.keys.includes(k)));
  return [...known, ...others.map((k) => ({ title: k.charAt(0).toUpperCase() + k.slice(1).replaceAll("_", " "), keys: [k] }))];
}

function curvesOf(chart: Chart, runs: Shown[], from: (run: Shown, key: string) => Series | undefined): Curve[] {
  const several = runs.length > 1;
  const each = runs.flatMap((run, at) => chart.keys.map((key, inner) => ({ run, key, tone: several ? at : inner })));
  return each.flatMap(({ run, key, tone }, at) => {
    const series = from(run, key);
    const twice = several && chart.keys.indexOf(key) > 0;
    if (series === undefined) return [];
    return [{ series, tone: twice ? tone + runs.length : tone, name: several ? `${run.name}${chart.keys.length > 1 ? `, ${said(key)}` : ""}` : said(key), at }];
  });
}

function Controls(props: { weight: number; onWeight: (w: number) => void; log: boolean; onLog: (on: boolean) => void; stretch: Stretch; onStretch: (s: Stretch) => void }) {
  const { stretch, onStretch, weight, log } = props;
  const choice = stretch === null ? "all" : "newest" in stretch ? "newest" : "some";
  return (
    <div className="row run-controls">
      <Field name={`Smoothing ${weight === 0 ? "off" : weight.toFixed(2)}`}>
        {(ids) => <input {...ids} type="range" min={0} max={0.99} step={0.01} value={weight} onChange={(e) => { props.onWeight(Number(e.target.value)); }} />}
      </Field>
      <Field name="Steps">
        {(ids) => (
          <select {...ids} className="input" value={choice} onChange={(e) => { onStretch(e.target.value === "newest" ? { newest: RECENT } : null); }}>
            <option value="all">all</option>
            <option value="newest">the newest {RECENT}</option>
            {choice === "some" ? <option value="some">as chosen</option> : null}
          </select>
        )}
      </Field>
      <label className="check"><input type="checkbox" checked={log} onChange={(e) => { props.onLog(e.target.checked); }} /> logarithmic</label>
      {stretch === null ? <span className="small soft">drag over a chart to zoom</span> : <Button small onClick={() => { onStretch(null); }}>Show all steps</Button>}
    </div>
  );
}

/** The series between two steps, as finely as the server has them: what is kept here is thinned. */
function useDetail(run: Shown | undefined, stretch: Stretch, weight: number): Map<string, Series> | null {
  const range = stretch !== null && "from" in stretch ? stretch : null;
  const from = range === null ? undefined : Math.max(0, Math.floor(range.from));
  const asked = useMetrics(run?.id ?? "", 4000, from, range === null ? undefined : Math.ceil(range.to), range !== null && run !== undefined);
  return useMemo(() => (asked.data === undefined || range === null ? null : seriesOf(asked.data, weight)), [asked.data, range, weight]);
}

function seriesOf({ steps, series }: Metrics, weight: number): Map<string, Series> {
  const found = new Map<string, Series>();
  for (const [key, values] of Object.entries(series)) {
    const made = new Series();
    made.smoothing(weightOf(key, weight));
    values.forEach((value, i) => { if (value !== null) made.append(steps[i] ?? i, value); });
    if (made.length > 0) found.set(key, made);
  }
  return found;
}

export function Charts({ runs }: { runs: Shown[] }) {
  const [weight, setWeight] = useKept<number>("smoothing", 0.6);
  const [log, setLog] = useKept<boolean>("logarithmic", false);
  const [stretch, setStretch] = useState<Stretch>(null);
  const { source, keys } = useTogether(runs);
  const feeds = useMemo(() => runs.map(({ feed }) => feed), [runs]);
  useSmoothing(feeds, weight);
  const detail = useDetail(runs.length === 1 ? runs[0] : undefined, stretch, weight);
  const charts = useMemo(() => chartsOf(keys).map((chart) => ({
    ...chart, curves: curvesOf(chart, runs, (run, key) => detail?.get(key) ?? run.feed.series.get(key)),
  })), [keys, runs, detail]);
  if (charts.length === 0) return <Note>Nothing has been measured yet; curves begin with the first step.</Note>;
  return (
    <div className="stack">
      <Controls weight={weight} onWeight={setWeight} log={log} onLog={setLog} stretch={stretch} onStretch={setStretch} />
      <div className="charts">
        {charts.map(({ title, curves }) => (
          <Panel key={title} title={title}>
            <Curves label={title} curves={curves} source={source} smooth={weight > 0} log={log} stretch={stretch} onStretch={setStretch} />
          </Panel>
        ))}
      </div>
    </div>
  );
}

/** The charts once the measurements are there. */
export function ChartsOf({ runs, waiting, error }: { runs: Shown[]; waiting: boolean; error: unknown }) {
  if (error !== null) return <Fault error={error} />;
  if (waiting) return <Spinner label="loading the curves" />;
  return <Charts runs={runs} />;
}
