/** The list of runs: filtered, searched, with what is at work moving; several can be chosen to compare. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "react-router";

import { get } from "../../api/http";
import type { List, Run } from "../../api/types";
import { Button, Empty, Field } from "../../kit/parts";
import { Loaded } from "../../kit/loaded";
import { Progress, StateTag } from "../../kit/state";
import { Table, type Column } from "../../kit/table";
import { ago, count, number, seconds } from "../../kit/words";
import { useMay } from "../../shell/me";
import { Page } from "../../shell/page";
import { isLive } from "./asking";

const STATES = ["queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"];
const EVERY_MS = 2000;
const IDLE_MS = 10_000;
const SIZE = 50;
const MOST = 6; // curves that can be told apart by colour

function useRuns(state: string, q: string, after: string | null) {
  const search = new URLSearchParams({ limit: String(SIZE), ...(state === "" ? {} : { state }), ...(q === "" ? {} : { q }), ...(after === null ? {} : { after }) });
  return useQuery({
    queryKey: ["runs", search.toString()],
    queryFn: ({ signal }) => get<List<Run>>(`/api/runs?${search.toString()}`, signal),
    placeholderData: keepPreviousData,
    refetchInterval: ({ state: { data } }) => (data?.items.some(isLive) ? EVERY_MS : IDLE_MS),
  });
}

function How({ run }: { run: Run }) {
  const share = run.steps === null || run.steps === 0 ? null : run.step / run.steps;
  const text = `${count(run.step)}${run.steps === null ? "" : ` / ${count(run.steps)}`}`;
  if (!isLive(run) && run.state !== "paused") return <span className="num">{text}</span>;
  const left = run.seconds_left === null ? "" : ` · ${seconds(run.seconds_left)} left`;
  return <div className="run-progress"><Progress label="step" share={share} text={`${text}${left}`} /></div>;
}

function columns(chosen: string[], choose: (id: string) => void): Column<Run>[] {
  return [
    { name: <span className="sr">Compare</span>, show: (run) => <input type="checkbox" aria-label={`compare ${run.name}`} checked={chosen.includes(run.id)} disabled={!chosen.includes(run.id) && chosen.length >= MOST} onChange={() => { choose(run.id); }} /> },
    { name: "Run", show: (run) => <div className="run-name"><Link to={`/runs/${encodeURIComponent(run.id)}`} className="wrap">{run.name === "" ? run.id : run.name}</Link>{run.tags.length === 0 ? null : <div className="small soft">{run.tags.join(" · ")}</div>}</div> },
    { name: "State", show: (run) => <StateTag state={run.state} /> },
    { name: "Steps", show: (run) => <How run={run} /> },
    { name: "Loss", number: true, show: (run) => number(run.loss) },
    { name: "Held out", number: true, show: (run) => number(run.eval_loss) },
    { name: "Method", show: (run) => `${run.method}${run.adapter === null || run.adapter === "" ? "" : ` · ${run.adapter}`}` },
    { name: "Model", show: (run) => <span className="wrap">{run.model.split("/").at(-1)}</span> },
    { name: "Started", show: (run) => ago(run.started ?? run.created) },
  ];
}

function Filters({ state, q, set }: { state: string; q: string; set: (key: string, value: string) => void }) {
  return (
    <search className="filters">
      <Field name="Search">
        {(ids) => <input {...ids} className="input" type="search" placeholder="name, model, method" value={q} onChange={(e) => { set("q", e.target.value); }} />}
      </Field>
      <Field name="State">
        {(ids) => (
          <select {...ids} className="input" value={state} onChange={(e) => { set("state", e.target.value); }}>
            <option value="">all</option>
            {STATES.map((s) => <option key={s}>{s}</option>)}
          </select>
        )}
      </Field>
    </search>
  );
}

function Nothing({ filtered }: { filtered: boolean }) {
  const may = useMay("member");
  if (filtered) return <Empty title="No run is like that">Change the search or the state.</Empty>;
  return (
    <Empty title="There is no run yet">
      <p>A run teaches a model from your rows. Choose both, look at the plan, start.</p>
      {may ? <Link className="button primary" to="/train">Train a model</Link> : null}
    </Empty>
  );
}

export function RunList() {
  const [search, setSearch] = useSearchParams();
  const may = useMay("member");
  const [chosen, setChosen] = useState<string[]>([]);
  const [trail, setTrail] = useState<string[]>([]); // where the parts before this one began
  const state = search.get("state") ?? "";
  const q = search.get("q") ?? "";
  const runs = useRuns(state, q, trail.at(-1) ?? null);
  const set = (key: string, value: string) => {
    setTrail([]);
    setSearch((now) => { const next = new URLSearchParams(now); if (value === "") next.delete(key); else next.set(key, value); return next; }, { replace: true });
  };
  const choose = (id: string) => { setChosen((now) => (now.includes(id) ? now.filter((x) => x !== id) : [...now, id])); };
  const compare = chosen.length < 2
    ? <span className="small soft">choose two or more to compare</span>
    : <Link className="button" to={`/runs/compare?ids=${chosen.map(encodeURIComponent).join(",")}`}>Compare {chosen.length} runs</Link>;
  return (
    <Page title="Runs" lead="Every training run, newest first." actions={<>{compare}{may ? <Link className="button primary" to="/train">New run</Link> : null}</>}>
      <Filters state={state} q={q} set={set} />
      <Loaded query={runs}>
        {({ items, next, total }) => (
          <div className="stack">
            <Table label="Runs" columns={columns(chosen, choose)} rows={items} id={(run) => run.id} empty={<Nothing filtered={state !== "" || q !== ""} />} />
            <div className="row spread small soft">
              <span>{total === 1 ? "1 run" : `${count(total)} runs`}</span>
              <div className="row">
                <Button small disabled={trail.length === 0} onClick={() => { setTrail((now) => now.slice(0, -1)); }}>Newer</Button>
                <Button small disabled={next === null} onClick={() => { if (next !== null) setTrail((now) => [...now, next]); }}>Older</Button>
              </div>
            </div>
          </div>
        )}
      </Loaded>
    </Page>
  );
}
