/** Numbers as people read them; no line breaks between a number and its unit. */
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined) return "–";
  let i = 0;
  let value = n;
  while (value >= 1024 && i < UNITS.length - 1) { value /= 1024; i += 1; }
  return `${value.toFixed(value >= 100 || i === 0 ? 0 : 1)}\u00a0${UNITS[i] ?? ""}`;
}

export function count(n: number | null | undefined): string {
  if (n === null || n === undefined) return "–";
  return n.toLocaleString("en", { maximumFractionDigits: 1 });
}

export function short(n: number | null | undefined): string {
  if (n === null || n === undefined) return "–";
  return n.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}

export function number(n: number | null | undefined, digits = 4): string {
  if (n === null || n === undefined) return "–";
  return Math.abs(n) >= 1e-3 || n === 0 ? n.toLocaleString("en", { maximumSignificantDigits: digits }) : n.toExponential(2);
}

export function seconds(s: number | null | undefined): string {
  if (s === null || s === undefined) return "–";
  if (s < 1) return `${Math.round(s * 1000).toString()}\u00a0ms`;
  if (s < 60) return `${s.toFixed(1)}\u00a0s`;
  if (s < 3600) return `${Math.floor(s / 60).toString()}\u00a0min\u00a0${Math.round(s % 60).toString()}\u00a0s`;
  return `${Math.floor(s / 3600).toString()}\u00a0h\u00a0${Math.round((s % 3600) / 60).toString()}\u00a0min`;
}

export function usd(v: number | null | undefined): string {
  if (v === null || v === undefined) return "–";
  return `$${v.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: v < 0.1 ? 6 : 2 })}`;
}

export function ago(iso: string | null | undefined): string {
  if (iso === null || iso === undefined) return "–";
  const past = (Date.now() - new Date(iso).getTime()) / 1000;
  if (past < 45) return "just\u00a0now";
  if (past < 3600) return `${Math.round(past / 60).toString()}\u00a0min\u00a0ago`;
  if (past < 86400) return `${Math.round(past / 3600).toString()}\u00a0h\u00a0ago`;
  return new Date(iso).toLocaleDateString();
}

/** The whole number above 0 that was written, or 0. */
export function whole(text: string): number {
  const n = Number.parseInt(text, 10);
  return Number.isFinite(n) && n > 0 ? n : 0;
}
