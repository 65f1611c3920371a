/** One run: what it does now, its curves, and everything it has left behind. */
import { useMemo } from "react";
import { Link, useNavigate } from "react-router";

import type { Run } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Facts, Note, Panel } from "../../kit/parts";
import { Progress, StateTag } from "../../kit/state";
import { Tabs } from "../../kit/tabs";
import { ago, bytes, count, number, seconds } from "../../kit/words";
import { useAddress } from "../../shell/address";
import { Page } from "../../shell/page";
import { Actions } from "./actions";
import { isLive, useFeed, useOthers, useRun } from "./asking";
import { ChartsOf, type Shown } from "./charts";
import { Artifacts, Checkpoints, Config, Log, Notes, Samples } from "./left";
import { OverlayChoice, useNamed } from "./overlay";

function Figures({ run }: { run: Run }) {
  const told: [string, string][] = [
    ["loss", number(run.loss)], ["held-out loss", number(run.eval_loss)], ["learning rate", number(run.lr)], ["gradient norm", number(run.grad_norm)],
    ["tokens per second", run.tokens_per_s === null ? "–" : count(Math.round(run.tokens_per_s))], ["tokens", count(run.tokens)], ["memory at most", bytes(run.peak_bytes)],
    [isLive(run) ? "time left" : "epoch", isLive(run) ? seconds(run.seconds_left) : number(run.epoch, 3)],
  ];
  return <dl className="figures">{told.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

function Expected({ run }: { run: Run }) {
  if (run.forecast === null) return null;
  const { memory_bytes: memory, seconds: time } = run.forecast;
  return <p className="small soft">Forecast: {bytes(memory[1])} of memory ({bytes(memory[0])} to {bytes(memory[2])}), {seconds(time[1])} ({seconds(time[0])} to {seconds(time[2])}).</p>;
}

function Trouble({ run }: { run: Run }) {
  if (run.error === null) return null;
  return (
    <Note tone="bad">
      <div className="stack tight">
        <div className="wrap">{run.error.message}</div>
        {run.error.hint === null ? null : <div className="small">hint: <code>{run.error.hint}</code></div>}
        <div className="small">{run.error.code}</div>
      </div>
    </Note>
  );
}

function About({ run }: { run: Run }) {
  return (
    <Facts items={[
      ["Model", run.model], ["Data", run.data], ["Method", run.method], ["Adapter", run.adapter ?? "–"],
      ["Started", run.started === null ? "not yet" : ago(run.started)], ["Ended", run.finished === null ? "–" : ago(run.finished)],
      ...(run.parent === null ? [] : [["Forked from", <Link key="p" to={`/runs/${encodeURIComponent(run.parent)}`}>{run.parent}</Link>] as [string, React.ReactNode]]),
      ["Folder", <code key="o">{run.out}</code>],
    ]}
    />
  );
}

function Head({ run, link }: { run: Run; link: string }) {
  const share = run.steps === null || run.steps === 0 ? null : Math.min(1, run.step / run.steps);
  const text = `step ${count(run.step)}${run.steps === null ? "" : ` of ${count(run.steps)}`}`;
  return (
    <Panel title={<span className="row"><StateTag state={run.state} /></span>} actions={isLive(run) && link === "lost" ? <span className="small soft" role="status">the connection was lost; trying again …</span> : null}>
      <div className="stack">
        <Progress label="progress" share={share} text={text} />
        <Figures run={run} />
        <Expected run={run} />
        <Trouble run={run} />
      </div>
    </Panel>
  );
}

function Loadable({ run }: { run: Run }) {
  const { kept, feed, link } = useFeed(run.id, run.state);
  const [laid, lay] = useAddress("over", "");
  const [tab, setTab] = useAddress("tab", "curves");
  const over = useNamed(laid === "" ? [] : laid.split(","));
  const others = useOthers(over.map(({ id }) => id));
  const shown = useMemo<Shown[]>(() => [
    { id: run.id, name: run.name, feed },
    ...over.flatMap((one, i) => { const found = others.feeds[i]; return found === undefined ? [] : [{ ...one, feed: found }]; }),
  ], [run.id, run.name, feed, over, others.feeds]);
  const curves = () => (
    <div className="stack">
      <OverlayChoice run={run} chosen={over} onChange={(ids) => { lay(ids.join(",")); }} />
      <ChartsOf runs={shown} waiting={kept.isPending} error={kept.error ?? others.error} />
    </div>
  );
  const tabs = [
    { id: "curves", name: "Curves", show: curves },
    { id: "log", name: "Log", show: () => <div className="stack"><Notes feed={feed} /><Log run={run} /></div> },
    { id: "checkpoints", name: "Checkpoints", show: () => <Checkpoints run={run} /> },
    { id: "samples", name: "Samples", show: () => <Samples run={run} /> },
    { id: "artifacts", name: "Artifacts", show: () => <Artifacts run={run} /> },
    { id: "config", name: "Settings", show: () => <Config run={run} /> },
    { id: "about", name: "About", show: () => <About run={run} /> },
  ];
  return (
    <>
      <Head run={run} link={link} />
      <Tabs label="Parts of the run" items={tabs} value={tab} onChange={setTab} />
    </>
  );
}

export function RunPage({ id }: { id: string }) {
  const found = useRun(id);
  const go = useNavigate();
  const run = found.data;
  return (
    <Page title={run === undefined || run.name === "" ? id : run.name} lead={run === undefined ? undefined : `${run.method}${run.adapter === null || run.adapter === "" ? "" : ` · ${run.adapter}`} · ${run.model.split("/").at(-1) ?? ""}`} actions={run === undefined ? null : <Actions run={run} onGone={() => void go("/runs")} onFork={(made) => void go(`/runs/${encodeURIComponent(made)}`)} />}>
      <Loaded query={found}>{(one) => <Loadable run={one} />}</Loaded>
    </Page>
  );
}
