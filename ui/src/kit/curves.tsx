/**
 * Live curves over steps: several runs on one chart, smoothed, zoomed by drag, drawn only while seen and only so
 * much as has columns. Knows nothing of runs: it asks `Series` for what to draw whenever `source` says so.
 */
import { useEffect, useEffectEvent, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { useTheme } from "../shell/theme";
import { offFrame, onFrame } from "./frames";
import type { Series } from "./series";
import { count, number } from "./words";

export interface Curve {
  name: string;
  series: Series;
  tone: number; // which of the colours of series, so that a run keeps its own on every chart
}
/** From one step to another, or the newest so many steps. */
export type Stretch = { from: number; to: number } | { newest: number } | null;
export interface Source {
  subscribe: (tell: () => void) => () => void;
}

interface Props {
  label: string;
  curves: Curve[];
  source: Source;
  smooth: boolean;
  log: boolean;
  stretch: Stretch;
  onStretch: (stretch: Stretch) => void;
  height?: number;
}

/** Between two marks of the axis of steps: whole numbers. */
const STEPS = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();

/** The newest step: what the legend tells while nothing is pointed at. */
function lastOf(curves: Curve[]): number | null {
  const last = Math.max(...curves.map((c) => c.series.last ?? -Infinity));
  return Number.isFinite(last) ? last : null;
}

function pointed({ cursor }: uPlot): boolean {
  return cursor.idx !== null && cursor.idx !== undefined;
}

function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function tone(index: number): string {
  return token(`--series-${String((index % 6) + 1)}`);
}

/** Each curve is drawn once, or twice when smoothed: itself, faint, and its mean. */
function drawn(curve: Curve, smooth: boolean): uPlot.Series[] {
  const stroke = tone(curve.tone);
  const shared = { points: { show: false }, spanGaps: true, value: (u: uPlot, v: number | null) => number(pointed(u) ? v : curve.series.now) };
  const main: uPlot.Series = { ...shared, label: curve.name, stroke, width: 1.75 };
  return smooth ? [{ ...shared, label: `${curve.name}, as measured`, stroke: `${stroke}4d`, width: 1, class: "faint" }, main] : [main];
}

function options(place: HTMLElement, props: Props): uPlot.Options {
  const axis = { stroke: token("--ink-soft"), grid: { stroke: token("--line"), width: 1 }, ticks: { stroke: token("--line"), width: 1 } };
  return {
    width: place.clientWidth,
    height: props.height ?? 220,
    axes: [{ ...axis, incrs: STEPS }, { ...axis, size: 62, values: (_, at) => at.map((v) => (v === null ? "" : number(v, 3))) }],
    scales: { x: { time: false }, y: props.log ? { distr: 3 } : {} },
    series: [{ label: "step", value: (u, v: number | null) => count(pointed(u) ? v : lastOf(props.curves)) }, ...props.curves.flatMap((c) => drawn(c, props.smooth))],
    cursor: { drag: { x: true, y: false, setScale: false } },
    hooks: {
      setSelect: [(u) => {
        if (u.select.width < 4) return;
        const to = u.posToVal(u.select.left + u.select.width, "x");
        props.onStretch({ from: u.posToVal(u.select.left, "x"), to });
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  };
}

function bounds(curves: Curve[], stretch: Stretch): [number, number] {
  const first = Math.min(...curves.map((c) => c.series.first ?? Infinity));
  const last = Math.max(...curves.map((c) => c.series.last ?? -Infinity));
  if (stretch === null || last < first) return [first, last];
  return "newest" in stretch ? [Math.max(first, last - stretch.newest), last] : [stretch.from, stretch.to];
}

/** No logarithm of 0 and less: such points are left out. */
function positive(values: number[]): (number | null)[] {
  return values.map((v) => (v > 0 ? v : null));
}

function tables(props: Props, width: number, [from, to]: [number, number]): uPlot.AlignedData {
  const parts = props.curves.map(({ series }) => {
    const { xs, ys, smooth } = series.view(from, to, width);
    const shown = (values: number[]) => (props.log ? positive(values) : values);
    return (props.smooth ? [xs, shown(ys), shown(smooth)] : [xs, shown(ys)]) as uPlot.AlignedData;
  });
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : uPlot.join(parts);
}

function draw(plot: uPlot, props: Props): void {
  const [from, to] = bounds(props.curves, props.stretch);
  if (!Number.isFinite(from) || !Number.isFinite(to)) return;
  plot.batch(() => {
    plot.setData(tables(props, plot.width, [from, to]), true);
    plot.setScale("x", { min: from, max: to > from ? to : from + 1 });
  });
}

function caption(curves: Curve[]): string {
  return curves.map((c) => `${c.name} now ${number(c.series.now)}`).join(", ");
}

export function Curves(props: Props) {
  const { curves, source, smooth, log, stretch, label, height, onStretch } = props;
  const box = useRef<HTMLDivElement>(null);
  const redraw = useRef<(() => void) | null>(null);
  const theme = useTheme();
  const latest = useEffectEvent(() => props);
  const names = curves.map((c) => `${c.name} ${String(c.tone)}`).join("\u0000");
  useEffect(() => {
    const place = box.current;
    if (place === null) return;
    const plot = new uPlot(options(place, latest()), [[]], place);
    let seen = true;
    const paint = () => { draw(plot, latest()); };
    const asked = () => { if (seen) onFrame(paint); };
    redraw.current = asked;
    const sight = new IntersectionObserver(([entry]) => { seen = entry?.isIntersecting ?? true; asked(); });
    const size = new ResizeObserver(() => { plot.setSize({ width: place.clientWidth, height: height ?? 220 }); asked(); });
    const stop = source.subscribe(asked);
    const whole = () => { latest().onStretch(null); };
    sight.observe(place);
    size.observe(place);
    plot.over.addEventListener("dblclick", whole);
    return () => { stop(); sight.disconnect(); size.disconnect(); offFrame(paint); redraw.current = null; plot.destroy(); };
  }, [names, smooth, log, height, theme.shown, source]);
  useEffect(() => { redraw.current?.(); }, [curves, stretch, onStretch]);
  return (
    <figure className="chart curves" aria-label={label}>
      <div ref={box} />
      <figcaption className="sr">{`${label}: ${caption(curves)}`}</figcaption>
    </figure>
  );
}
