/** Says what the built pages were made from, so that a stale build is found; the Python test counts the same hash. */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import type { Plugin } from "vite";

const SOURCES = ["index.html", "package-lock.json", "public", "src", "tools", "vite.config.ts"];

function under(path: string): string[] {
  try {
    return readdirSync(path).flatMap((name) => under(join(path, name)));
  } catch {
    return [path]; // not a folder
  }
}

export function sourceHash(): string {
  const hash = createHash("sha256");
  const names = SOURCES.flatMap(under).map((name) => name.replaceAll("\\", "/")).filter((name) => !name.endsWith(".d.ts")); // types leave no trace in a build
  for (const name of names.sort()) hash.update(`${name}\0`).update(readFileSync(name)).update("\0");
  return hash.digest("hex");
}

export function builtFrom(): Plugin {
  return {
    name: "built-from",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "built-from.json", source: `${JSON.stringify({ sources: SOURCES, sha256: sourceHash() }, null, 2)}\n` });
    },
  };
}
