/**
 * Drives a running stead in a headless Chromium. Starts no server: address, token and facts come by the environment
 * (STEAD_URL, STEAD_TOKEN, STEAD_FACTS as JSON; OUT for pictures; CHROMIUM for the browser).
 *
 *   await drive("home", async (page, { open, looks, check, facts }) => { await open("/", "Home"); await looks("home"); });
 *
 * A script fails on: a thrown error, a console error, a request that fails or leaves this origin, sideways scrolling,
 * or a serious or critical finding of axe. Pictures are taken where OUT is set. `restart()` asks whoever started the
 * script, by a line on stdout, to end the server and start it again, and waits for a line back.
 */
import { mkdtempSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

import Axe from "@axe-core/playwright";
import { chromium } from "playwright-core";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
const VIEWS = [
  // The same page three times: what only colours decide is asked in both schemes, what only the layout decides at both widths.
  { name: "light", width: 1280, height: 900, scheme: "light", axe: {} },
  { name: "dark", width: 1280, height: 900, scheme: "dark", axe: { runOnly: ["color-contrast", "link-in-text-block"] } },
  { name: "phone", width: 390, height: 844, scheme: "light", axe: { rules: { "color-contrast": { enabled: false } } } },
];
const WAIT_MS = 20_000;

function needed(name) {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set; tests/ui sets it`);
  return value;
}

/** Everything the browser complains about, as lines; `allow` takes a text or an expression of what is expected. */
function complaints(page, url) {
  const found = [];
  const allowed = [];
  const tell = (text) => { if (!allowed.some((a) => (a instanceof RegExp ? a.test(text) : text.includes(a)))) found.push(text); };
  page.on("console", (m) => { if (m.type() === "error") tell(`console: ${m.text()} (${m.location().url})`); });
  page.on("pageerror", (e) => { tell(`uncaught: ${e.stack ?? e.message}`); });
  page.on("requestfailed", (r) => {
    const why = r.failure()?.errorText ?? "";
    if (why !== "net::ERR_ABORTED") tell(`request: ${r.method()} ${r.url()} ${why}`); // aborted: the page was left
  });
  page.on("response", (r) => { if (r.status() >= 400) tell(`answer: ${r.status()} ${r.request().method()} ${r.url()}`); });
  page.on("request", (r) => {
    const to = new URL(r.url());
    if (/^(https?|wss?):$/.test(to.protocol) && to.host !== new URL(url).host) tell(`another host: ${r.url()}`);
  });
  return { found, allow: (what) => { allowed.push(what); } };
}

async function settled(page) {
  // Streams never end, so "no traffic" cannot be waited for; a page is ready when nothing on it spins.
  await page.waitForFunction(() => document.querySelector("main .spin, #root:empty") === null, null, { timeout: WAIT_MS });
}

async function scanned(page, where, options) {
  const { violations } = await new Axe({ page }).options(options).analyze();
  return violations
    .filter((v) => v.impact === "serious" || v.impact === "critical")
    .map((v) => `axe ${where}: ${v.id} (${v.impact}) ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.target.join(" ")} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
}

/** What is wider than the window, so that a failure names the culprit. */
async function overflow(page) {
  return page.evaluate(() => {
    const wide = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= wide) return null;
    const inBox = (e) => { for (let p = e.parentElement; p; p = p.parentElement) if (getComputedStyle(p).overflowX !== "visible") return true; return false; };
    const out = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > wide + 1 && !inBox(e));
    return out.slice(0, 4).map((e) => `${e.tagName.toLowerCase()}.${String(e.className)} to ${Math.round(e.getBoundingClientRect().right)} px`).join(", ");
  });
}

/** Light, dark and phone: a picture of each, sideways scrolling checked in each, axe in light and dark; on a page's front at phone width too. */
async function looked(page, name, out, faults) {
  for (const view of VIEWS) {
    await page.setViewportSize({ width: view.width, height: view.height });
    await page.emulateMedia({ colorScheme: view.scheme, reducedMotion: "reduce" });
    await page.waitForFunction((wanted) => document.documentElement.dataset.theme === wanted, view.scheme);
    await settled(page);
    const wide = await overflow(page);
    if (wide !== null) faults.push(`${name} ${view.name}: scrolls sideways: ${wide}`);
    if (view.name !== "phone" || /^(page|empty)-/.test(name)) faults.push(...await scanned(page, `${name} ${view.name}`, view.axe));
    if (out !== undefined) await page.screenshot({ path: join(out, `${name}-${view.name}.png`), fullPage: true });
  }
  await page.setViewportSize({ width: VIEWS[0].width, height: VIEWS[0].height });
  await page.emulateMedia({ colorScheme: "light" });
}

function check(truth, message) {
  if (!truth) throw new Error(message);
}

async function restart() {
  const answered = new Promise((resolve) => { process.stdin.once("data", resolve); });
  console.log("restart the server");
  await answered;
  process.stdin.pause();
}

/** Log in by the token, run `act`, and end with status 1 and every fault on stderr when something was wrong. */
export async function drive(name, act) {
  const url = needed("STEAD_URL");
  const facts = JSON.parse(process.env.STEAD_FACTS ?? "{}");
  const out = process.env.OUT;
  if (out !== undefined) mkdirSync(out, { recursive: true });
  const profile = mkdtempSync(join(tmpdir(), "stead-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS, headless: true, baseURL: url, acceptDownloads: true,
  });
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const faults = [];
  const { found, allow } = complaints(page, url);
  const open = async (path, heading) => {
    await page.goto(path);
    if (heading !== undefined) await page.getByRole("heading", { level: 1, name: heading }).waitFor();
    await settled(page);
  };
  try {
    const entered = await context.request.post("/api/login", { data: { token: needed("STEAD_TOKEN") } });
    check(entered.ok(), `login answered ${entered.status()}: ${await entered.text()}`);
    await act(page, { open, settled: () => settled(page), looks: (what) => looked(page, what, out, faults), check, allow, facts, restart });
  } catch (error) {
    faults.push(String(error.stack));
    await page.screenshot({ path: join(out ?? tmpdir(), `stead-ui-fault-${name}.png`), fullPage: true }).catch(() => undefined);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
  for (const fault of [...faults, ...found]) console.error(`${name}: ${fault}`);
  process.exitCode = faults.length + found.length === 0 ? 0 : 1;
}
