/** Lines over steps. Draws 100,000 points smoothly: uPlot on a canvas; the numbers are also told in words. */
import { useEffect, useEffectEvent, useMemo, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { useTheme } from "../shell/theme";

export interface Line {
  name: string;
  values: (number | null)[];
}

function color(index: number): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--series-${String((index % 6) + 1)}`).trim();
}

function ink(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options(width: number, height: number, lines: string[], log: boolean, x: string): uPlot.Options {
  const axis = { stroke: ink("--ink-soft"), grid: { stroke: ink("--line"), width: 1 }, ticks: { stroke: ink("--line"), width: 1 } };
  return {
    width, height, axes: [{ ...axis }, { ...axis, size: 60 }],
    scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
    series: [{ label: x }, ...lines.map((label, i) => ({ label, stroke: color(i), width: 1.5, points: { show: false } }))],
    cursor: { drag: { x: true, y: false } },
  };
}

export function Chart({ label, x, steps, lines, height = 220, log = false }: { label: string; x?: string; steps: number[]; lines: Line[]; height?: number; log?: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useTheme();
  const names = lines.map((l) => l.name).join("\u0000");
  const data = useMemo(() => [steps, ...lines.map((l) => l.values)] as uPlot.AlignedData, [steps, lines]);
  const latest = useEffectEvent(() => data);
  useEffect(() => {
    const place = box.current;
    if (place === null) return;
    const made = new uPlot(options(place.clientWidth, height, names === "" ? [] : names.split("\u0000"), log, x ?? "step"), latest(), place);
    plot.current = made;
    const watch = new ResizeObserver(() => { made.setSize({ width: place.clientWidth, height }); });
    watch.observe(place);
    return () => { watch.disconnect(); made.destroy(); plot.current = null; };
  }, [names, log, height, theme.shown, x]);
  useEffect(() => { plot.current?.setData(data); }, [data]);
  return (
    <figure className="chart" aria-label={label} style={{ margin: 0 }}>
      <div ref={box} />
      <figcaption className="sr">{`${label}: ${lines.map((l) => `${l.name} now ${String(l.values.at(-1) ?? "none")}`).join(", ")}`}</figcaption>
    </figure>
  );
}
