/** Beside the talk: models, system prompt, parameters, tools. */
import { useState } from "react";

import type { Askable } from "../../api/types";
import { Button, Field } from "../../kit/parts";
import { PARAMS, readTools, type Param } from "./params";
import { MOST_MODELS, type Setup } from "./setup";

type Change = (change: Partial<Setup>) => void;

function Models({ setup, change, models }: { setup: Setup; change: Change; models: Askable[] }) {
  const { models: chosen } = setup;
  const known = (id: string) => models.some((m) => m.id === id);
  return (
    <div className="stack tight">
      {chosen.map((model, i) => (
        <Field key={i} name={chosen.length === 1 ? "Model" : `Model ${String(i + 1)}`} fault={known(model) ? undefined : "not served now"}>
          {(ids) => (
            <div className="row nowrap">
              <select {...ids} className="input grow" value={model} onChange={(e) => { change({ models: chosen.map((old, j) => (j === i ? e.target.value : old)) }); }}>
                {known(model) ? null : <option value={model}>{model}</option>}
                {models.map((m) => <option key={m.id} value={m.id}>{m.id}</option>)}
              </select>
              {chosen.length === 1 ? null : <Button small aria-label={`Take off model ${String(i + 1)}`} onClick={() => { change({ models: chosen.filter((_, j) => j !== i) }); }}>×</Button>}
            </div>
          )}
        </Field>
      ))}
      {chosen.length >= MOST_MODELS || models.length === 0 ? null : (
        <div><Button small onClick={() => { change({ models: [...chosen, models[chosen.length % models.length]?.id ?? ""] }); }}>Compare with another model</Button></div>
      )}
    </div>
  );
}

function changed(params: Setup["params"], key: string, value: unknown): Setup["params"] {
  const others = Object.entries(params).filter(([k]) => k !== key);
  return Object.fromEntries(value === undefined ? others : [...others, [key, value]]);
}

function Number({ param, setup, change }: { param: Param; setup: Setup; change: Change }) {
  const { key, name, help, min, max, step } = param;
  const value = setup.params[key];
  const put = (text: string) => {
    change({ params: changed(setup.params, key, text === "" ? undefined : globalThis.Number(text)) });
  };
  return (
    <Field name={name} help={help}>
      {(ids) => <input {...ids} className="input" type="number" min={min} max={max} step={step} placeholder="default" value={typeof value === "number" ? value : ""} onChange={(e) => { put(e.target.value); }} />}
    </Field>
  );
}

function Stops({ setup, change }: { setup: Setup; change: Change }) {
  const [text, setText] = useState(((setup.params.stop as string[] | undefined) ?? []).join("\n"));
  const put = (next: string) => {
    setText(next);
    const stop = next.split("\n").filter((l) => l !== "");
    change({ params: changed(setup.params, "stop", stop.length === 0 ? undefined : stop) });
  };
  return (
    <Field name="Stop at" help="one text per line; the answer ends before it">
      {(ids) => <textarea {...ids} className="input mono" rows={2} value={text} onChange={(e) => { put(e.target.value); }} />}
    </Field>
  );
}

export function Side({ setup, change, models }: { setup: Setup; change: Change; models: Askable[] }) {
  const { fault } = readTools(setup.tools);
  const show = (more: boolean) => PARAMS.filter((p) => Boolean(p.more) === more).map((p) => <Number key={p.key} param={p} setup={setup} change={change} />);
  return (
    <div className="stack">
      <Models setup={setup} change={change} models={models} />
      <Field name="System prompt">
        {(ids) => <textarea {...ids} className="input" rows={3} value={setup.system} onChange={(e) => { change({ system: e.target.value }); }} />}
      </Field>
      <div className="pair">{show(false)}</div>
      <details>
        <summary>More parameters</summary>
        <div className="stack">
          <Stops setup={setup} change={change} />
          <div className="pair">{show(true)}</div>
        </div>
      </details>
      <details open={setup.tools !== ""}>
        <summary>Tools</summary>
        <Field name="Tools as JSON" help="OpenAI's list of functions; you are asked for what a called one gives" fault={fault}>
          {(ids) => <textarea {...ids} className="input mono" rows={6} spellCheck={false} value={setup.tools} onChange={(e) => { change({ tools: e.target.value }); }} />}
        </Field>
      </details>
    </div>
  );
}
