/** The form, the text and the plan of one recipe: all three show the same YAML. */
import { useEffect, useMemo, useState } from "react";

import { Problem } from "../../api/http";
import type { Kind, Planned } from "../../api/types";
import { Note, Panel } from "../../kit/parts";
import { Advanced, type FormProps } from "./advanced";
import { useHardware, usePlan } from "./asking";
import { DataChoice, KindChoice, ModelChoice } from "./choices";
import { Control } from "./control";
import { DRAFT } from "./draft";
import { allFields, type FieldInfo, type Schema } from "./fields";
import { PlanPanel } from "./plan";
import { at, chosen, lineOf, read, write, type Recipe } from "./recipe";
import { Start } from "./start";
import { YamlPanel, type Mark } from "./yaml";

const SENSIBLE: [string, string][] = [
  ["name", "Name of the run"], ["trainer.epochs", "Passes over the data"], ["trainer.lr", "Learning rate"], ["data.max_length", "Longest row in tokens"],
  ["adapter.r", "Adapter rank"], ["trainer.batch_tokens", "Tokens per micro-batch"], ["data.eval_share", "Share held out"], ["trainer.eval_every", "Steps between held-out losses"],
];
const USUAL = { method: ["sft", "dpo", "pretrain", "grpo"], adapter: ["lora", "qlora", "full"] };

/** The key that the words name: an unknown one in quotes, or a field of the schema. */
function keyIn(message: string, fields: FieldInfo[]): string | null {
  const unknown = /there is no key '([^']+)'/.exec(message)?.[1];
  if (unknown !== undefined) return unknown;
  const named = fields.filter((f) => new RegExp(`(^|[^\\w.])${f.path.replaceAll(".", "\\.")}([^\\w.]|$)`).test(message));
  return named.toSorted((a, b) => b.path.length - a.path.length)[0]?.path ?? null;
}

/** What the server refused, by the key that its words name. */
function refusals(error: unknown, fields: FieldInfo[]): { path: string | null; message: string }[] {
  if (!(error instanceof Problem) || error.status >= 500 || error.status === 0) return [];
  return error.message.split("\n").map((message) => ({ path: keyIn(message, fields), message: message.replace(/^request: /, "") }));
}

function missingOf(recipe: Recipe): string | null {
  if (recipe.faults.length > 0) return "The recipe is no YAML at the moment; see the marked line.";
  const lacks = [["model.path", "a model"], ["data.path", "a data set"]].filter(([path = ""]) => [undefined, null, ""].includes(at(recipe.value, path) as string | undefined));
  return lacks.length === 0 ? null : `Choose ${lacks.map(([, name]) => name).join(" and ")} to see the plan.`;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);
}

function settledBy(planned: Planned | undefined): FormProps["settled"] {
  if (planned === undefined) return () => undefined;
  const { config, origins } = planned.plan;
  return (path) => (origins[path] === undefined || origins[path] === "default" ? undefined : { value: at(config, path), origin: origins[path] });
}

function Form({ form, kinds, method, adapter }: { form: FormProps; kinds: Record<string, Kind[]>; method: string; adapter: string }) {
  const { value, faults, onChange } = form;
  const sensible = SENSIBLE.flatMap(([path, name]) => { const field = form.fields.find((f) => f.path === path); return field === undefined ? [] : [{ field, name }]; });
  return (
    <>
      <Panel title="What">
        <div className="stack">
          <div className="controls">
            <ModelChoice value={text(at(value, "model.path"))} fault={faults.get("model.path")} onChange={(v) => { onChange("model.path", v); }} />
            <DataChoice value={text(at(value, "data.path"))} fault={faults.get("data.path")} onChange={(v) => { onChange("data.path", v); }} />
          </div>
          <KindChoice name="Method" kinds={kinds.method ?? []} usual={USUAL.method} value={method} onChange={(v) => { onChange("method", v); }} />
          <KindChoice name="Adapter" kinds={kinds.adapter ?? []} usual={USUAL.adapter} value={adapter} onChange={(v) => { onChange("adapter", v); }} />
        </div>
      </Panel>
      <Panel title="How">
        <div className="controls">
          {sensible.map(({ field, name }) => (
            <Control key={field.path} field={field} name={name} value={at(value, field.path)} settled={form.settled(field.path)} fault={faults.get(field.path)} onChange={(v) => { onChange(field.path, v); }} />
          ))}
        </div>
      </Panel>
      <Advanced {...form} />
    </>
  );
}

function marksOf(recipe: Recipe, refused: ReturnType<typeof refusals>): Mark[] {
  if (recipe.faults.length > 0) return recipe.faults;
  return refused.map(({ path, message }) => ({ line: path === null ? null : lineOf(recipe, path), message }));
}

export function Editor({ schema, kinds, first }: { schema: Schema; kinds: Record<string, Kind[]>; first: string }) {
  const [yaml, setYaml] = useState(first);
  useEffect(() => { localStorage.setItem(DRAFT, yaml); }, [yaml]);
  const recipe = useMemo(() => read(yaml), [yaml]);
  const method = chosen(recipe.value, "method", "sft");
  const adapter = chosen(recipe.value, "adapter", "lora");
  const fields = useMemo(() => allFields(schema, method, adapter), [schema, method, adapter]);
  const missing = missingOf(recipe);
  const hardware = useHardware();
  const { plan, isOld } = usePlan(yaml, missing === null);
  const refused = missing === null && !isOld ? refusals(plan.error, fields) : [];
  const form: FormProps = {
    fields, value: recipe.value, settled: settledBy(isOld || plan.isError ? undefined : plan.data),
    faults: new Map(refused.flatMap(({ path, message }) => (path === null ? [] : [[path, message] as const]))),
    onChange: (path, value) => { setYaml(write(recipe, path, value)); },
  };
  return (
    <div className="two train">
      <div className="stack">
        {recipe.faults.length > 0 ? <Note tone="warn">The form waits until the YAML can be read again.</Note> : <Form form={form} kinds={kinds} method={method} adapter={adapter} />}
      </div>
      <div className="stack">
        <PlanPanel plan={plan} isOld={isOld} missing={missing} hardware={hardware.data} onFix={({ field, value }) => { form.onChange(field, value); }} />
        <Start yaml={yaml} isReady={missing === null} plan={isOld || plan.isError ? undefined : plan.data} />
        <YamlPanel text={yaml} marks={marksOf(recipe, refused)} onChange={setYaml} />
      </div>
    </div>
  );
}
