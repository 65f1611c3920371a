/** Cut a data set into parts that share no row, for training and for measuring. */
import { useState } from "react";
import { Link } from "react-router";

import type { Dataset } from "../../api/types";
import { Button, Field, Note, Panel } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { count } from "../../kit/words";
import { useSplit } from "./queries";

const PARTS = [["train", "Training"], ["eval", "Evaluation"], ["test", "Test"]] as const;
type Shares = Record<string, number>;

function about(dataset: Dataset, percent: number): string {
  return dataset.rows === null ? "percent" : `percent, about ${count(Math.round((dataset.rows * percent) / 100))} rows`;
}

function Made({ parts }: { parts: Dataset[] }) {
  return (
    <Note tone="good">
      <p>The parts were made:</p>
      <ul>{parts.map((d) => <li key={d.id}><Link to={`/datasets/${encodeURIComponent(d.id)}`}>{d.name}</Link>, {count(d.rows)} rows</li>)}</ul>
    </Note>
  );
}

export function Split({ dataset }: { dataset: Dataset }) {
  const [shares, setShares] = useState<Shares>({ train: 80, eval: 10, test: 10 });
  const [seed, setSeed] = useState(42);
  const split = useSplit(dataset.id);
  const sum = Object.values(shares).reduce((a, b) => a + b, 0);
  const cut = () => {
    const wanted = Object.entries(shares).filter(([, percent]) => percent > 0);
    split.mutate({ shares: Object.fromEntries(wanted.map(([name, percent]) => [name, percent / 100])), seed });
  };
  return (
    <Panel title="Split">
      <form className="stack" onSubmit={(e) => { e.preventDefault(); cut(); }}>
        <p className="soft">Each row goes to exactly one part; the same seed makes the same parts. The data set itself stays as it is.</p>
        <div className="grid">
          {PARTS.map(([id, name]) => (
            <Field key={id} name={name} help={about(dataset, shares[id] ?? 0)}>
              {(ids) => <input {...ids} className="input" type="number" min={0} max={100} value={shares[id]} onChange={(e) => { setShares((now) => ({ ...now, [id]: Number(e.target.value) })); }} />}
            </Field>
          ))}
          <Field name="Seed" help="any whole number">
            {(ids) => <input {...ids} className="input" type="number" value={seed} onChange={(e) => { setSeed(Number(e.target.value)); }} />}
          </Field>
        </div>
        {sum === 100 ? null : <Note tone="warn">The parts are {count(sum)} % together; they must be 100 %.</Note>}
        {split.isError ? <Fault error={split.error} /> : null}
        {split.data === undefined ? null : <Made parts={split.data.items} />}
        <div><Button kind="primary" type="submit" disabled={sum !== 100} busy={split.isPending}>Split</Button></div>
      </form>
    </Panel>
  );
}
