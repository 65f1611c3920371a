/** How many fall where: bars, the numbers on each for those who point, and as a table for everybody. */
import { Table } from "./table";
import { count, short } from "./words";

/** Bars of heights; `told` is said to those who point. Screen readers get the table beside them. */
export function Bars({ bars }: { bars: { key: string | number; height: number; told: string }[] }) {
  const most = Math.max(...bars.map((b) => b.height), Number.MIN_VALUE);
  return (
    <div className="bars" aria-hidden>
      {bars.map((b) => (
        <div key={b.key} className="bar" title={b.told}>
          <div style={{ height: `${((100 * b.height) / most).toFixed(2)}%` }} />
        </div>
      ))}
    </div>
  );
}

export interface Bin {
  from: number;
  to: number;
  count: number;
}

function told(bin: Bin, unit: string): string {
  return `${count(bin.from)} to ${count(bin.to)} ${unit}: ${count(bin.count)}`;
}

export function Histogram({ label, unit, bins }: { label: string; unit: string; bins: Bin[] }) {
  const most = Math.max(1, ...bins.map((b) => b.count));
  const first = bins[0];
  const last = bins.at(-1);
  if (first === undefined || last === undefined) return <p className="soft">There is nothing to count.</p>;
  return (
    <figure className="histogram">
      <figcaption className="row spread small">
        <span>{label}</span>
        <span className="soft">highest bar: {count(most)}</span>
      </figcaption>
      <Bars bars={bins.map((b) => ({ key: b.from, height: b.count, told: told(b, unit) }))} />
      <div className="row spread small soft num" aria-hidden>
        <span>{short(first.from)}</span>
        <span>{unit}</span>
        <span>{short(last.to)}</span>
      </div>
      <details>
        <summary className="small">As a table</summary>
        <Table
          label={label} rows={bins} id={(b) => b.from}
          columns={[{ name: unit, show: (b) => `${count(b.from)} to ${count(b.to)}` }, { name: "Count", number: true, show: (b) => count(b.count) }]}
        />
      </details>
    </figure>
  );
}
