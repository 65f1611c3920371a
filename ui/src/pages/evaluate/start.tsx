/** The form of a new evaluation: which models, on which sets, by which metrics. */
import { useState } from "react";

import { useDatasets, useKinds, useModels } from "../../api/nouns";
import type { Dataset, Kind, Model, Run } from "../../api/types";
import { Checks, type Option } from "../../kit/checks";
import { Loaded } from "../../kit/loaded";
import { Button, Field, Panel } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { useTell } from "../../kit/toast";
import { ago, count } from "../../kit/words";
import { modelName } from "./names";
import { useFinished, useStart } from "./queries";

const ALONE = "";

/** Installed models, and what finished runs made. */
function models(all: Model[], runs: Run[]): Option[] {
  return [
    ...all.map((m) => ({ value: m.name, name: m.name, about: m.family })),
    ...runs.map((r) => ({ value: r.id, name: r.name === "" ? r.id : r.name, about: `run on ${modelName(r.model)}, ${ago(r.finished)}` })),
  ];
}

function sets(all: Dataset[]): Option[] {
  return all.map((d) => ({ value: d.id, name: d.name, about: `${count(d.rows)} rows` }));
}

function scorers(all: Kind[]): Option[] {
  return all.map((s) => ({ value: s.name, name: s.name, about: s.available ? s.summary : (s.reason ?? "not installed"), disabled: !s.available }));
}

interface Choices {
  models: string[];
  sets: string[];
  metrics: string[];
  against: string;
  limit: string;
}

function missing(chosen: Choices): string | null {
  const parts = [chosen.models.length === 0 ? "a model" : "", chosen.sets.length === 0 ? "a data set" : "", chosen.metrics.length === 0 ? "a metric" : ""].filter((p) => p !== "");
  return parts.length === 0 ? null : `Choose ${parts.join(", ")} first.`;
}

function Against({ options, several, value, onChange }: { options: Option[]; several: boolean; value: string; onChange: (value: string) => void }) {
  return (
    <Field name="Compared with" help="The same rows are asked of both, so that the difference can be judged.">
      {(ids) => (
        <select {...ids} className="input" value={value} onChange={(e) => { onChange(e.target.value); }}>
          <option value={ALONE}>{several ? "the first of the chosen models" : "nothing: one model with error bars"}</option>
          <option value="base">the same model without its adapter</option>
          {options.map((o) => <option key={o.value} value={o.value}>{o.name}</option>)}
        </select>
      )}
    </Field>
  );
}

function useChoices() {
  const [chosen, setChosen] = useState<Choices>({ models: [], sets: [], metrics: [], against: ALONE, limit: "" });
  const start = useStart();
  const tell = useTell();
  const submit = (all: { models: Option[]; sets: Option[] }) => {
    const { against, limit, sets: wanted, ...rest } = chosen;
    const called = (options: Option[], value: string) => options.find((o) => o.value === value)?.name ?? value;
    const models = rest.models.map((m) => called(all.models, m)).join(", ");
    const order = {
      ...rest, against: against === ALONE ? null : against, limit: limit === "" ? null : Number(limit),
      sets: wanted.map((data) => ({ data, title: `${models} on ${called(all.sets, data)}`.slice(0, 200) })),
    };
    start.mutate(order, { onSuccess: (jobs) => { tell("good", jobs.length === 1 ? "The evaluation is queued" : `${count(jobs.length)} evaluations are queued`); } });
  };
  const change = (part: Partial<Choices>) => { setChosen((now) => ({ ...now, ...part })); };
  return { chosen, change, start, submit };
}

export function Start() {
  const known = { models: useModels(), runs: useFinished(), sets: useDatasets(), kinds: useKinds() };
  const { chosen, change, start, submit } = useChoices();
  const lacking = missing(chosen);
  const all = { models: models(known.models.data?.items ?? [], known.runs.data?.items ?? []), sets: sets(known.sets.data?.items ?? []) };
  return (
    <Panel title="New evaluation">
      <form className="stack" onSubmit={(e) => { e.preventDefault(); submit(all); }}>
        <div className="grid">
          <Loaded query={known.models}>{() => <Checks name="Models" options={all.models} value={chosen.models} onChange={(now) => { change({ models: now }); }} empty="No model is installed yet." />}</Loaded>
          <Loaded query={known.sets}>{() => <Checks name="Data sets" options={all.sets} value={chosen.sets} onChange={(now) => { change({ sets: now }); }} empty="No data set was brought in yet." />}</Loaded>
          <Loaded query={known.kinds}>{(kinds) => <Checks name="Metrics" options={scorers(kinds.scorer ?? [])} value={chosen.metrics} onChange={(now) => { change({ metrics: now }); }} empty="No metric is installed." />}</Loaded>
        </div>
        <div className="grid">
          <Against options={all.models} several={chosen.models.length > 1} value={chosen.against} onChange={(against) => { change({ against }); }} />
          <Field name="Rows" help="empty: all of them">
            {(ids) => <input {...ids} className="input" type="number" min={1} value={chosen.limit} onChange={(e) => { change({ limit: e.target.value }); }} />}
          </Field>
        </div>
        {start.isError ? <Fault error={start.error} /> : null}
        <div className="row">
          <Button kind="primary" type="submit" disabled={lacking !== null} busy={start.isPending}>Evaluate</Button>
          {lacking === null ? null : <span className="small soft">{lacking}</span>}
        </div>
      </form>
    </Panel>
  );
}
