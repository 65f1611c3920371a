/** A recipe as YAML text, which is the only truth: the form reads it and writes into it, comments stay. */
import { isMap, isScalar, LineCounter, parseDocument, type Document } from "yaml";

export interface Recipe {
  text: string;
  document: Document;
  value: Record<string, unknown>;
  faults: { line: number; message: string }[];
}

export function read(text: string): Recipe {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const faults = document.errors.map((e) => ({ line: lines.linePos(e.pos[0]).line, message: (e.message.split("\n")[0] ?? "").replace(/ at line \d+, column \d+:?$/, "") }));
  const found: unknown = faults.length === 0 ? document.toJS() : null;
  const isRecipe = typeof found === "object" && found !== null && !Array.isArray(found);
  if (faults.length === 0 && !isRecipe && text.trim() !== "" && found !== null) faults.push({ line: 1, message: "a recipe is a list of names with values, as `method: sft`" });
  return { text, document, value: isRecipe ? (found as Record<string, unknown>) : {}, faults };
}

/** The value at a dotted path; undefined: the recipe does not say. */
export function at(value: unknown, path: string): unknown {
  let found = value;
  for (const key of path.split(".")) {
    if (typeof found !== "object" || found === null) return undefined;
    found = (found as Record<string, unknown>)[key];
  }
  return found;
}

/** The method or adapter: its section is a name, or settings with a `type`. */
export function chosen(value: Record<string, unknown>, section: "method" | "adapter", otherwise: string): string {
  const found = value[section];
  if (typeof found === "string") return found;
  const type = at(found, "type");
  return typeof type === "string" ? type : otherwise;
}

function prune(document: Document, keys: string[]): void {
  for (let depth = keys.length - 1; depth > 0; depth -= 1) {
    const parent = document.getIn(keys.slice(0, depth));
    if (!isMap(parent) || parent.items.length > 0) return;
    document.deleteIn(keys.slice(0, depth));
  }
}

/** A section that is only a name (`method: sft`) becomes one with settings (`method: {type: sft}`). */
function unfold(document: Document, section: string): void {
  const node = document.get(section, true);
  if (isScalar(node)) document.set(section, document.createNode(node.value === null ? {} : { type: node.value }));
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** The text with one value changed; `undefined` takes it out, so that the default holds. */
export function write(recipe: Recipe, path: string, value: unknown): string {
  const { document } = read(recipe.text);
  const keys = path.split(".");
  const [first = ""] = keys;
  if (!isMap(document.contents)) document.contents = document.createNode({}) as unknown as typeof document.contents;
  if (keys.length > 1) unfold(document, first);
  if (value !== undefined) document.setIn(keys, value);
  else if (document.hasIn(keys)) {
    document.deleteIn(keys);
    prune(document, keys);
  }
  return isEmpty(document.toJS()) ? "" : document.toString({ lineWidth: 0 });
}

/** The line on which a key stands, or its nearest parent. */
export function lineOf(recipe: Recipe, path: string): number | null {
  const lines = new LineCounter();
  const document = parseDocument(recipe.text, { lineCounter: lines });
  let node: unknown = document.contents;
  let line: number | null = null;
  for (const key of path.split(".")) {
    if (!isMap(node)) return line;
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
    if (pair === undefined) return line;
    if (isScalar(pair.key) && pair.key.range) line = lines.linePos(pair.key.range[0]).line;
    node = pair.value;
  }
  return line;
}
