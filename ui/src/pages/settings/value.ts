/** A setting's value between JSON, what is shown and what is typed. */
import type { Setting } from "../../api/types";

export function shown(value: unknown): string {
  if (value === null || value === undefined) return "not set";
  if (value === "") return "empty";
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function written(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join("\n");
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What was typed, in the type the setting has; the server checks it and names what is wrong. */
export function parsed(setting: Setting, text: string): unknown {
  const example = setting.default ?? setting.value;
  if (Array.isArray(example)) return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  if (typeof example === "boolean") return text === "true";
  if (text.trim() === "" && setting.default === null) return null;
  const number = Number(text);
  const isNumber = text.trim() !== "" && Number.isFinite(number) && typeof example !== "string";
  return isNumber ? number : text;
}
