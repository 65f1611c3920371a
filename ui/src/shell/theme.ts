/** Light, dark or as the system says; kept in this browser. */
import { useSyncExternalStore } from "react";

export type Choice = "system" | "light" | "dark";
const KEY = "stead-theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

function choice(): Choice {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

function apply(): void {
  const wanted = choice();
  const shown = wanted === "system" ? (dark.matches ? "dark" : "light") : wanted;
  document.documentElement.dataset.theme = shown;
  listeners.forEach((tell) => { tell(); });
}

export function startTheme(): void {
  dark.addEventListener("change", apply);
  apply();
}

export function setTheme(wanted: Choice): void {
  localStorage.setItem(KEY, wanted);
  apply();
}

export function useTheme(): { choice: Choice; shown: string } {
  const state = useSyncExternalStore(
    (tell) => { listeners.add(tell); return () => listeners.delete(tell); },
    () => `${choice()} ${document.documentElement.dataset.theme ?? "light"}`,
  );
  const [picked, shown] = state.split(" ") as [Choice, string];
  return { choice: picked, shown };
}
