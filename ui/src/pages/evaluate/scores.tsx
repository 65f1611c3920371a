/** Every metric with its interval; of two models also their difference and the verdict. */
import type { Score } from "../../api/types";
import { Table, type Column } from "../../kit/table";
import { count, number } from "../../kit/words";
import { Verdict } from "./verdict";

type Named = Score & { name: string };

function value(n: number | null | undefined): string {
  return n === null ? "not finite" : number(n);
}

function signed(n: number | null | undefined): string {
  return typeof n === "number" && n > 0 ? `+${number(n)}` : value(n);
}

function Between({ low, high }: { low: number | null | undefined; high: number | null | undefined }) {
  return <span className="small soft">{value(low)} to {value(high)}</span>;
}

function WithInterval({ at, low, high }: { at: number | null | undefined; low: number | null | undefined; high: number | null | undefined }) {
  return <>{value(at)}<br /><Between low={low} high={high} /></>;
}

const METRIC: Column<Named> = { name: "Metric", show: (s) => <>{s.name}<br /><span className="small soft">{s.higher_is_better ? "higher is better" : "lower is better"}</span></> };
const ROWS: Column<Named> = { name: "Rows", number: true, show: (s) => count(s.n) };

const ALONE: Column<Named>[] = [
  METRIC,
  { name: "Value", number: true, show: (s) => value(s.value) },
  { name: "Interval", number: true, show: (s) => <Between low={s.ci_low} high={s.ci_high} /> },
  ROWS,
];

const COMPARED: Column<Named>[] = [
  METRIC,
  { name: "Verdict", show: (s) => (s.verdict === null ? "–" : <Verdict word={s.verdict} />) },
  { name: "Base", number: true, show: (s) => <WithInterval at={s.base} low={s.base_ci_low} high={s.base_ci_high} /> },
  { name: "Tuned", number: true, show: (s) => <WithInterval at={s.tuned} low={s.tuned_ci_low} high={s.tuned_ci_high} /> },
  { name: "Difference", number: true, show: (s) => <>{signed(s.delta)}<br /><Between low={s.ci_low} high={s.ci_high} /></> },
  { name: "p", number: true, show: (s) => (s.p === null ? "–" : s.p < 0.001 ? "< 0.001" : s.p.toFixed(3)) },
  ROWS,
];

export function ScoreTable({ metrics, compared }: { metrics: Record<string, Score>; compared: boolean }) {
  const rows = Object.entries(metrics).map(([name, score]) => ({ ...score, name }));
  const level = rows[0]?.level ?? 0.95;
  return (
    <div className="stack tight">
      <Table label="Metrics" columns={compared ? COMPARED : ALONE} rows={rows} id={(s) => s.name} />
      <p className="small soft">
        Small numbers are {number(100 * level)} % intervals.{compared ? " “No difference shown” means that these rows do not tell the models apart, which is not the same as equal." : ""}
      </p>
    </div>
  );
}
