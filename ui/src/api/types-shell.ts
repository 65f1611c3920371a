/** Answers that only these pages read. */
import type { Role } from "./types";

export * from "./types";

export interface CatalogModel {
  name: string;
  provider: string;
  category: string;
  parameters_b: number | null;
  size_gb: number | null;
  memory_gb: number | null;
  context: number | null;
  capabilities: string[];
  price: { input: number; output: number } | null;
  source: string | null;
}

export interface ModelCard {
  text: string;
}

export interface LineageStep {
  model: string;
  version: number;
  hash: string;
  source: string;
  run: string | null;
  base: string | null;
  data: string | null;
}

export interface Verified {
  ok: boolean;
  files: number;
  problems: Record<string, unknown>[];
}

export interface Plugin {
  kind: string;
  name: string;
  origin: string;
  sha256: string;
  state: "enabled" | "disabled" | "changed" | "missing";
}

export interface SettingChange {
  version: number;
  at: string;
  actor: string;
  key: string;
  before: { value?: unknown } | null;
  after: { value?: unknown } | null;
}

export interface User {
  id: string;
  name: string;
  role: Role;
  created: string;
  disabled: string | null;
}

export interface Token {
  id: string;
  name: string;
  user: string;
  created: string;
  expires: string | null;
  revoked: string | null;
  token: string | null;
}
