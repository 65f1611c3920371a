/** The JSON Schema of a recipe as a flat list of fields, and what kind of control each needs. Knows no field by name. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}
export type Kind =
  | { is: "choice"; choices: string[] }
  | { is: "several"; choices: string[] }
  | { is: "switch" }
  | { is: "number"; whole: boolean; words: string[] } // words stand instead of a number: "auto"
  | { is: "text" }
  | { is: "list"; numbers: boolean; single: boolean } // single: one alone is written without a list
  | { is: "nested" }; // written as YAML
export interface FieldInfo {
  path: string;
  section: string;
  name: string;
  help: string;
  default: unknown;
  empty: boolean; // null is allowed
  kind: Kind;
  range: string;
}

function resolved(root: Schema, schema: Schema): Schema {
  const name = schema.$ref?.split("/").at(-1);
  const found = name === undefined ? undefined : root.$defs?.[name];
  return found === undefined ? schema : { ...found, ...schema };
}

function words(part: Schema): string[] {
  return [...(part.enum ?? []), ...(part.const === undefined ? [] : [part.const])].filter((w): w is string => typeof w === "string");
}

function listKind(root: Schema, part: Schema): Kind {
  const items = resolved(root, part.items ?? {});
  const choices = words(items);
  if (choices.length > 0) return { is: "several", choices };
  if (items.type === "string") return { is: "list", numbers: false, single: false };
  return items.type === "integer" || items.type === "number" ? { is: "list", numbers: true, single: false } : { is: "nested" };
}

function plainKind(part: Schema): Kind {
  if (part.type === "boolean") return { is: "switch" };
  if (part.type === "integer" || part.type === "number") return { is: "number", whole: part.type === "integer", words: [] };
  return part.type === "string" ? { is: "text" } : { is: "nested" };
}

function kindOf(root: Schema, schema: Schema): Kind {
  const parts = (schema.anyOf ?? [schema]).map((p) => resolved(root, p)).filter((p) => p.type !== "null");
  const said = parts.flatMap(words);
  const others = parts.filter((p) => words(p).length === 0);
  const [first] = others;
  if (first === undefined) return { is: "choice", choices: said };
  if (first.type === "array" && others.length === 1) return said.length === 0 ? listKind(root, first) : { is: "text" };
  if (others.length === 1) {
    const kind = plainKind(first);
    return kind.is === "number" ? { ...kind, words: said } : kind;
  }
  const isText = others.some((p) => p.type === "string");
  const isNames = others.some((p) => p.type === "array" && p.items?.type === "string");
  return isText ? (isNames ? { is: "list", numbers: false, single: true } : { is: "text" }) : { is: "nested" };
}

function rangeOf(schema: Schema): string {
  const told = (schema.anyOf ?? [schema]).flatMap((p) => [
    p.minimum === undefined ? "" : `at least ${String(p.minimum)}`, p.exclusiveMinimum === undefined ? "" : `above ${String(p.exclusiveMinimum)}`,
    p.maximum === undefined ? "" : `at most ${String(p.maximum)}`, p.exclusiveMaximum === undefined ? "" : `below ${String(p.exclusiveMaximum)}`,
  ]);
  return told.filter((t) => t !== "" && t.length < 24).join(", ");
}

function field(root: Schema, path: string, schema: Schema): FieldInfo {
  const [section = ""] = path.split(".");
  return {
    path, section: path.includes(".") ? section : "run", name: path.split(".").slice(1).join(".") || path,
    help: schema.description ?? "", default: schema.default, kind: kindOf(root, schema), range: rangeOf(schema),
    empty: (schema.anyOf ?? []).some((p) => p.type === "null"),
  };
}

function fieldsOf(root: Schema, path: string, schema: Schema): FieldInfo[] {
  const whole = resolved(root, schema);
  if (whole.properties === undefined) return [field(root, path, schema)];
  return Object.entries(whole.properties).filter(([key]) => key !== "type" || path === "trainer" || path === "launch").flatMap(([key, inner]) => fieldsOf(root, `${path}.${key}`, inner));
}

/** The settings of the extension that the recipe names: each method and adapter brings its own. */
function owned(root: Schema, path: string, name: string): FieldInfo[] {
  const own = root.properties?.[path]?.anyOf?.find((p) => p.properties?.type?.const === name);
  return own === undefined ? [] : fieldsOf(root, path, own);
}

export function allFields(root: Schema, method: string, adapter: string): FieldInfo[] {
  const names: Record<string, string> = { method, adapter };
  return Object.entries(root.properties ?? {}).flatMap(([key, schema]) => {
    const name = names[key];
    return name === undefined ? fieldsOf(root, key, schema) : owned(root, key, name);
  });
}
