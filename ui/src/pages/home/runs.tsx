/** What is at work, with its progress, and what ended lately. */
import { Link } from "react-router";

import type { Run } from "../../api/types";
import { Empty, Panel } from "../../kit/parts";
import { Progress, StateTag } from "../../kit/state";
import { Table, type Column } from "../../kit/table";
import { ago, count, number, seconds } from "../../kit/words";

function Name({ run }: { run: Run }) {
  return <Link to={`/runs/${encodeURIComponent(run.id)}`} className="wrap">{run.name === "" ? run.id : run.name}</Link>;
}

function stepText(run: Run): string {
  const steps = run.steps === null ? "" : ` of ${count(run.steps)}`;
  const left = run.seconds_left === null ? "" : ` · ${seconds(run.seconds_left)} left`;
  return `step ${count(run.step)}${steps}${left}`;
}

function One({ run }: { run: Run }) {
  return (
    <li className="stack tight">
      <div className="row spread">
        <Name run={run} />
        <StateTag state={run.state} />
      </div>
      <Progress label={`${run.method} of ${run.model}`} share={run.steps === null || run.steps === 0 ? null : run.step / run.steps} text={stepText(run)} />
      <div className="row small soft">
        <span>loss {number(run.loss)}</span>
        <span>·</span>
        <span>{run.tokens_per_s === null ? "– " : count(Math.round(run.tokens_per_s))} tokens/s</span>
      </div>
    </li>
  );
}

export function Running({ runs, queue }: { runs: Run[]; queue: number }) {
  const waiting = queue === 0 ? null : <span className="small soft">{queue === 1 ? "1 job waits" : `${count(queue)} jobs wait`}</span>;
  return (
    <Panel title="Running now" actions={waiting}>
      {runs.length === 0 ? (
        <Empty title="Nothing runs">
          <p>A run started here goes on when you close this page.</p>
        </Empty>
      ) : (
        <ul className="plain-list stack">{runs.map((run) => <One key={run.id} run={run} />)}</ul>
      )}
    </Panel>
  );
}

const COLUMNS: Column<Run>[] = [
  { name: "Run", show: (run) => <Name run={run} /> },
  { name: "State", show: (run) => <StateTag state={run.state} /> },
  { name: "Method", show: (run) => run.method },
  { name: "Loss", number: true, show: (run) => number(run.eval_loss ?? run.loss) },
  { name: "Ended", show: (run) => ago(run.finished ?? run.started ?? run.created) },
];

export function Recent({ runs }: { runs: Run[] }) {
  return (
    <Panel title="Recent runs" actions={<Link to="/runs" className="small">all runs</Link>}>
      <Table label="Recent runs" columns={COLUMNS} rows={runs} id={(run) => run.id} empty={<Empty title="No run has ended yet" />} />
    </Panel>
  );
}
