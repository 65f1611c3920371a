/**
 * Measures live charts in chromium: five charts of 100,000 points, 100 more per second each.
 * `node tests/bench_charts.mjs` prints one JSON line; fails when drawing takes more of a frame than there is.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import react from "@vitejs/plugin-react";
import { chromium } from "playwright-core";
import { build, preview } from "vite";

const FRAME_MS = 1000 / 60;
const root = new URL("./bench/", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "stead-bench-charts-"));
const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];

function share(values, part) {
  const sorted = values.toSorted((a, b) => a - b);
  return Number((sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0).toFixed(2));
}

function told(values) {
  return { count: values.length, p50: share(values, 0.5), p95: share(values, 0.95), p99: share(values, 0.99), most: share(values, 1) };
}

async function measured(url) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    await page.goto(url);
    return await page.evaluate(() => window.measured);
  } finally {
    await browser.close();
  }
}

const shared = { root, configFile: false, logLevel: "error", build: { outDir: folder, emptyOutDir: true, rollupOptions: { input: join(root, "charts.html") } } };
let server;
try {
  await build({ ...shared, plugins: [react()] });
  server = await preview({ ...shared, preview: { host: "127.0.0.1", port: 0 } });
  const { frames, work, points } = await measured(new URL("charts.html", server.resolvedUrls.local[0]).href);
  const found = { points, charts: 5, frame_ms: told(frames), drawing_ms: told(work) };
  console.log(JSON.stringify(found));
  if (found.drawing_ms.p95 > FRAME_MS) {
    console.error(`drawing takes ${found.drawing_ms.p95} ms of a frame's ${FRAME_MS.toFixed(1)} ms (95th of 100)`);
    process.exitCode = 1;
  }
} finally {
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
}
