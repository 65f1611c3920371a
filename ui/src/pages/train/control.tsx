/** One control for a field of the schema. Empty means: as by default. */
import { useState } from "react";
import { parse, stringify } from "yaml";

import { Button, Field } from "../../kit/parts";
import type { FieldInfo, Kind } from "./fields";

interface Ids {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": boolean;
}
interface InnerProps {
  field: FieldInfo;
  ids: Ids;
  value: unknown;
  onChange: (value: unknown) => void;
}

export function shown(value: unknown): string {
  if (value === null || value === undefined) return "none";
  if (typeof value === "string") return value === "" ? "empty" : value;
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map((v) => (typeof v === "string" ? v : JSON.stringify(v))).join(", ");
  return typeof value === "object" && Object.keys(value).length === 0 ? "none" : JSON.stringify(value);
}

function numberOf(text: string): unknown {
  if (text.trim() === "") return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : text.trim(); // a word, or a mistake that the plan names
}

function listOf(text: string, kind: Kind): unknown {
  const { numbers, single } = kind.is === "list" ? kind : { numbers: false, single: false };
  const parts = text.split(",").map((p) => p.trim()).filter((p) => p !== "");
  if (parts.length === 0) return undefined;
  if (single && parts.length === 1) return parts[0];
  return numbers ? parts.map(numberOf) : parts;
}

function nestedOf(text: string): unknown {
  try {
    const found: unknown = parse(text);
    return found ?? undefined;
  } catch {
    return text; // not YAML yet: the plan says so
  }
}

const READ: Partial<Record<Kind["is"], (text: string, kind: Kind) => unknown>> = {
  number: numberOf,
  text: (text) => (text === "" ? undefined : text),
  list: listOf,
  nested: nestedOf,
};

function told(value: unknown, kind: Kind): string {
  if (value === undefined || value === null) return "";
  if (kind.is === "nested" && typeof value === "object") return stringify(value).trimEnd();
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value as string | number | boolean);
}

/** What was typed stays as it was typed while it means what the recipe says. */
function useDraft({ field: { kind }, value, onChange }: InnerProps): { text: string; type: (text: string) => void } {
  const read = READ[kind.is] ?? ((text: string) => text);
  const [draft, setDraft] = useState<string | null>(null);
  const same = draft !== null && JSON.stringify(read(draft, kind)) === JSON.stringify(value);
  return { text: same ? draft : told(value, kind), type: (text) => { setDraft(text); onChange(read(text, kind)); } };
}

function Nested(props: InnerProps) {
  const { text, type } = useDraft(props);
  return <textarea {...props.ids} className="input mono" rows={3} spellCheck={false} value={text} placeholder={shown(props.field.default)} onChange={(e) => { type(e.target.value); }} />;
}

function Typed(props: InnerProps) {
  const { field: { kind, default: usual }, ids } = props;
  const { text, type } = useDraft(props);
  const words = kind.is === "number" ? kind.words : [];
  const list = words.length > 0 ? { list: `${ids.id}-words` } : {};
  const isNumber = kind.is === "number" && words.length === 0;
  return (
    <>
      <input {...ids} {...list} className={kind.is === "text" ? "input" : "input mono"} inputMode={isNumber ? "decimal" : "text"} autoComplete="off" spellCheck={false} value={text} placeholder={shown(usual)} onChange={(e) => { type(e.target.value); }} />
      {words.length > 0 ? <datalist id={`${ids.id}-words`}>{words.map((w) => <option key={w} value={w} />)}</datalist> : null}
    </>
  );
}

function Choice({ field, ids, value, onChange }: InnerProps) {
  const choices = field.kind.is === "choice" ? field.kind.choices : ["true", "false"];
  const now = value === undefined || value === null ? "" : String(value as string | boolean);
  const isOther = now !== "" && !choices.includes(now);
  const pick = (text: string) => { onChange(text === "" ? undefined : field.kind.is === "switch" ? text === "true" : text); };
  return (
    <select {...ids} className="input" value={now} onChange={(e) => { pick(e.target.value); }}>
      <option value="">{`${field.kind.is === "switch" ? said(field.default) : shown(field.default)} (default)`}</option>
      {choices.map((c) => <option key={c} value={c}>{field.kind.is === "switch" ? said(c === "true") : c}</option>)}
      {isOther ? <option value={now}>{now}</option> : null}
    </select>
  );
}

function said(value: unknown): string {
  return value === true ? "yes" : value === false ? "no" : shown(value);
}

function Several({ field, ids, value, onChange }: InnerProps) {
  const chosen = Array.isArray(value) ? (value as unknown[]).map(String) : [];
  const choices = field.kind.is === "several" ? field.kind.choices : [];
  const toggle = (name: string) => {
    const next = chosen.includes(name) ? chosen.filter((c) => c !== name) : [...chosen, name];
    onChange(next.length === 0 ? undefined : next);
  };
  return (
    <div className="row" role="group" id={ids.id} aria-describedby={ids["aria-describedby"]}>
      {choices.map((c) => <label key={c} className="check small"><input type="checkbox" checked={chosen.includes(c)} onChange={() => { toggle(c); }} /> {c}</label>)}
    </div>
  );
}

interface Props {
  field: FieldInfo;
  name?: string;
  value: unknown;
  settled?: { value: unknown; origin: string } | undefined; // what the plan made of it
  fault?: string | undefined;
  onChange: (value: unknown) => void;
}

function helpOf(field: FieldInfo, settled: Props["settled"], value: unknown): string {
  const now = settled === undefined || JSON.stringify(settled.value) === JSON.stringify(value ?? field.default) ? "" : ` Here ${shown(settled.value)}: ${settled.origin}.`;
  const range = field.range === "" ? "" : ` (${field.range})`;
  const help = field.help.replace(/\bNone\b/g, "empty").replaceAll("`", "");
  return `${help.charAt(0).toUpperCase()}${help.slice(1)}${range}.${now}`;
}

export function Control({ field, name, value, settled, fault, onChange }: Props) {
  const Inner = { choice: Choice, switch: Choice, several: Several, number: Typed, text: Typed, list: Typed, nested: Nested }[field.kind.is];
  return (
    <div className="control">
      <Field name={name ?? field.name} help={helpOf(field, settled, value)} fault={fault}>
        {(ids) => <Inner field={field} ids={ids} value={value} onChange={onChange} />}
      </Field>
      {value === undefined ? null : <Button small kind="plain" aria-label={`${field.path}: back to the default`} onClick={() => { onChange(undefined); }}>reset</Button>}
    </div>
  );
}
