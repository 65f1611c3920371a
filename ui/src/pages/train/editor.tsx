/** The form, the text and the plan of one recipe: all three show the same YAML. */
import { useEffect, useMemo, useState } from "react";

import { Problem } from "../../api/http";
import { useHardware } from "../../api/nouns";
import type { Kinds, Planned } from "../../api/types";
import { Note, Panel } from "../../kit/parts";
import { Advanced, type FormProps } from "./advanced";
import { usePlan } from "./asking";
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

function Form({ form, kinds, method, adapter }: { form: FormProps; kinds: Kinds; method: string; adapter: string }) {
  const { value, faults, onChange } = form;
  const sensible = SENSIBLE.flatMap(([path, name]) => { const field = form.fields.find((f) => f.path === path); return field === undefined ? [] : [{ field, name }]; });
  return (
    <>
      <Panel title="What is taught, and how">
        <div className="stack">
          <div className="controls">
            <ModelChoice value={text(at(value, "model.path"))} fault={faults.get("model.path")} onChange={(v) => { onChange("model.path", v); }} />
            <DataChoice value={text(at(value, "data.path"))} fault={faults.get("data.path")} method={method} onChange={(v) => { onChange("data.path", v); }} onMethod={(name) => { onChange("method", name); }} />
          </div>
          <KindChoice name="Method" kinds={kinds.method ?? []} usual={USUAL.method} value={method} onChange={(v) => { onChange("method", v); }} />
          <KindChoice name="Adapter" kinds={kinds.adapter ?? []} usual={USUAL.adapter} value={adapter} onChange={(v) => { onChange("adapter", v); }} />
        </div>
      </Panel>
      <Panel title="Settings">
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

/** The recipe, or while it cannot be read the last one that could: the form goes on showing it. */
function useLastGood(recipe: Recipe): Recipe {
  const [last, setLast] = useState(recipe);
  const isGood = recipe.faults.length === 0;
  if (isGood && last !== recipe) setLast(recipe);
  return isGood ? recipe : last;
}

function Left({ isBroken, ...rest }: { isBroken: boolean; form: FormProps; kinds: Kinds; method: string; adapter: string }) {
  return (
    <div className="stack">
      {isBroken ? <Note tone="warn">The form waits until the YAML can be read again; see the marked line.</Note> : null}
      <div className={isBroken ? "stack old" : "stack"} inert={isBroken}><Form {...rest} /></div>
    </div>
  );
}

export function Editor({ schema, kinds, first }: { schema: Schema; kinds: Kinds; first: string }) {
  const [yaml, setYaml] = useState(first);
  useEffect(() => { localStorage.setItem(DRAFT, yaml); }, [yaml]);
  const recipe = useMemo(() => read(yaml), [yaml]);
  const isBroken = recipe.faults.length > 0;
  const shown = useLastGood(recipe);
  const method = chosen(shown.value, "method", "sft");
  const adapter = chosen(shown.value, "adapter", "lora");
  const fields = useMemo(() => allFields(schema, method, adapter), [schema, method, adapter]);
  const missing = missingOf(recipe);
  const hardware = useHardware();
  const { plan, isOld } = usePlan(yaml, missing === null);
  const isRefused = plan.isError && !isOld;
  const planned = isOld || plan.isError ? undefined : plan.data;
  const refused = missing === null && !isOld ? refusals(plan.error, fields) : [];
  const form: FormProps = {
    fields, value: shown.value, settled: settledBy(planned),
    faults: new Map(refused.flatMap(({ path, message }) => (path === null ? [] : [[path, message] as const]))),
    onChange: (path, value) => { setYaml(write(recipe, path, value)); },
  };
  return (
    <div className="two train">
      <Left isBroken={isBroken} form={form} kinds={kinds} method={method} adapter={adapter} />
      <div className="stack beside">
        <PlanPanel plan={plan} isOld={isOld} missing={missing} hardware={hardware.data} refused={refused} onFix={({ field, value }) => { form.onChange(field, value); }} />
        <Start yaml={yaml} missing={missing} isRefused={isRefused} plan={planned} />
        <YamlPanel text={yaml} marks={marksOf(recipe, refused)} onChange={setYaml} />
      </div>
    </div>
  );
}
