/** A page for bench_charts.mjs: five charts of 100,000 points each, and a hundred more every second. */
import { useMemo, useState } from "react";
import { createRoot } from "react-dom/client";

import { Curves, type Stretch } from "../../src/kit/curves";
import { onWork } from "../../src/kit/frames";
import { Series } from "../../src/kit/series";
import "../../src/kit/tokens.css";
import "../../src/kit/base.css";
import "../../src/kit/kit.css";

const POINTS = 100_000;
const PER_SECOND = 100;
const SECONDS = 8;
const NAMES = ["loss", "lr", "gradient norm", "tokens per second", "memory"];

/** A curve that looks like a loss: falling, with noise from a small generator, so that every run draws the same. */
function point(i: number): number {
  const noise = (((Math.imul(i + 1, 2654435761) >>> 0) % 1000) / 1000 - 0.5) * 0.3;
  return 2 + 3 * Math.exp(-i / 20_000) + noise;
}

const listeners = new Set<() => void>();
const source = { subscribe: (tell: () => void) => { listeners.add(tell); return () => { listeners.delete(tell); }; } };
const all = NAMES.map((name) => {
  const series = new Series();
  series.smoothing(0.9);
  for (let i = 0; i < POINTS; i += 1) series.append(i, point(i));
  return { name, series };
});

function Page() {
  const [stretch, setStretch] = useState<Stretch>(null);
  const charts = useMemo(() => all.map(({ name, series }, tone) => ({ name, curves: [{ name, series, tone }] })), []);
  return (
    <main style={{ display: "grid", gridTemplateColumns: "1fr 1fr", gap: 8 }}>
      {charts.map(({ name, curves }) => <Curves key={name} label={name} curves={curves} source={source} smooth log={false} stretch={stretch} onStretch={setStretch} height={200} />)}
    </main>
  );
}

function measure(done: (found: { frames: number[]; work: number[]; points: number }) => void): void {
  const frames: number[] = [];
  const work: number[] = [];
  onWork((ms) => { work.push(ms); });
  let before = performance.now();
  const began = before;
  let next = POINTS;
  const feed = setInterval(() => {
    const due = POINTS + Math.floor(((performance.now() - began) / 1000) * PER_SECOND);
    for (; next < due; next += 1) for (const { series } of all) series.append(next, point(next));
    listeners.forEach((tell) => { tell(); });
  }, 1000 / PER_SECOND);
  const frame = (now: number) => {
    frames.push(now - before);
    before = now;
    if (now - began < 1000 * SECONDS) requestAnimationFrame(frame);
    else { clearInterval(feed); done({ frames, work, points: next }); }
  };
  requestAnimationFrame(frame);
}

const place = document.getElementById("root");
if (place === null) throw new Error("charts.html has no #root");
createRoot(place).render(<Page />);
Object.assign(window, { measured: new Promise((resolve) => { setTimeout(() => { measure(resolve); }, 1000); }) });
