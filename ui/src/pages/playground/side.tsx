/** Beside the talk: system prompt, parameters, tools. */
import { useState } from "react";

import { Field } from "../../kit/parts";
import { PARAMS, readTools, type Param } from "./params";
import type { Setup } from "./setup";

type Change = (change: Partial<Setup>) => void;

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

export function Side({ setup, change }: { setup: Setup; change: Change }) {
  const { fault } = readTools(setup.tools);
  const show = (more: boolean) => PARAMS.filter((p) => Boolean(p.more) === more).map((p) => <Number key={p.key} param={p} setup={setup} change={change} />);
  return (
    <div className="stack">
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
