/** Every field of the schema, by section, searchable. */
import { useDeferredValue, useState } from "react";

import { Empty, Field, Panel } from "../../kit/parts";
import { Control } from "./control";
import type { FieldInfo } from "./fields";
import { at } from "./recipe";

export interface FormProps {
  fields: FieldInfo[];
  value: Record<string, unknown>;
  settled: (path: string) => { value: unknown; origin: string } | undefined;
  faults: Map<string, string>;
  onChange: (path: string, value: unknown) => void;
}

const NAMES: Record<string, string> = {
  run: "The run", model: "Model", data: "Data", method: "Method", adapter: "Adapter", trainer: "Training", launch: "Where it runs", evaluation: "Evaluation at the end", export: "Exports at the end",
};

function matches(field: FieldInfo, words: string[]): boolean {
  const text = `${field.path} ${field.help}`.toLowerCase();
  return words.every((w) => text.includes(w));
}

function Section({ name, fields, open, form }: { name: string; fields: FieldInfo[]; open: boolean; form: FormProps }) {
  const changed = fields.filter((f) => at(form.value, f.path) !== undefined).length;
  return (
    <details className="section" open={open}>
      <summary>
        <span>{NAMES[name] ?? name}</span>
        <span className="small soft">{fields.length} {fields.length === 1 ? "field" : "fields"}{changed === 0 ? "" : `, ${String(changed)} set`}</span>
      </summary>
      <div className="controls">
        {fields.map((f) => (
          <Control key={f.path} field={f} value={at(form.value, f.path)} settled={form.settled(f.path)} fault={form.faults.get(f.path)} onChange={(v) => { form.onChange(f.path, v); }} />
        ))}
      </div>
    </details>
  );
}

export function Advanced(form: FormProps) {
  const [search, setSearch] = useState("");
  const words = useDeferredValue(search).toLowerCase().split(/\s+/).filter((w) => w !== "");
  const found = words.length === 0 ? form.fields : form.fields.filter((f) => matches(f, words));
  const sections = [...new Set(found.map((f) => f.section))];
  return (
    <Panel title="Advanced">
      <div className="stack">
        <Field name="Search all settings" help={words.length === 0 ? `${String(form.fields.length)} settings; what is not set has its default` : `${String(found.length)} found`}>
          {(ids) => <input {...ids} className="input" type="search" placeholder="for instance: warm-up, dropout, checkpoint" value={search} onChange={(e) => { setSearch(e.target.value); }} />}
        </Field>
        {found.length === 0 ? <Empty title="No setting is like that" /> : null}
        <div className="stack tight">
          {sections.map((name) => <Section key={`${name} ${String(words.length > 0)}`} name={name} open={words.length > 0} form={form} fields={found.filter((f) => f.section === name)} />)}
        </div>
      </div>
    </Panel>
  );
}
