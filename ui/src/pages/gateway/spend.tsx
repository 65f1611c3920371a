/** What was spent: a bar per day, by key, model and strategy as shares and numbers. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { get } from "../../api/http";
import type { SpendRow } from "../../api/types";
import type { List } from "../../api/types";
import { Bars } from "../../kit/histogram";
import { Loaded } from "../../kit/loaded";
import { Empty, Field, Meter, Panel } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count, short, usd } from "../../kit/words";

const DAY_S = 86_400;
const SPANS = [{ days: 7, name: "the last 7 days" }, { days: 30, name: "the last 30 days" }, { days: 365, name: "the last year" }];

function sinceOf(days: number): number {
  return (Math.floor(Date.now() / 1000 / DAY_S) - days + 1) * DAY_S;
}

function useSpend(by: string, days: number) {
  return useQuery({
    queryKey: ["spend", by, days],
    queryFn: async ({ signal }) => (await get<List<SpendRow>>(`/api/spend?by=${by}&since=${String(sinceOf(days))}`, signal)).items,
    refetchInterval: 30_000,
  });
}

/** What was asked without a key, or by no strategy. */
function called(label: string, name: string): string {
  return label === "" ? `without a ${name.toLowerCase()}` : label;
}

function columns(name: string): Column<SpendRow>[] {
  return [
    { name, show: (r) => <span className="wrap">{called(r.label, name)}</span> },
    { name: "Spent", number: true, show: (r) => usd(r.usd) },
    { name: "Requests", number: true, show: (r) => count(r.requests) },
    { name: "Failed", number: true, show: (r) => count(r.failed) },
    { name: "Tokens", number: true, show: (r) => short(r.tokens) },
    { name: "Without a price", number: true, show: (r) => count(r.unpriced) },
  ];
}

function dayOf(seconds: number): string {
  return new Date(1000 * seconds).toISOString().slice(0, 10);
}

/** A bar for each day of the time, days without requests too. Of models without a price, the requests are shown. */
function Days({ rows, days }: { rows: SpendRow[]; days: number }) {
  const of = new Map(rows.map((r) => [r.label, r]));
  const all = Array.from({ length: days }, (_, i) => dayOf(sinceOf(days) + i * DAY_S));
  const total = rows.reduce((sum, r) => sum + r.usd, 0);
  const height = (r: SpendRow | undefined) => (total === 0 ? r?.requests : r?.usd) ?? 0;
  return (
    <figure className="histogram">
      <figcaption className="row spread">
        <span><span className="figure">{usd(total)}</span> <span className="small soft">in {count(days)} days</span></span>
        <span className="small soft">{total === 0 ? "bars: requests a day" : "bars: US dollars a day"}</span>
      </figcaption>
      <Bars bars={all.map((day) => ({ key: day, height: height(of.get(day)), told: `${day}: ${usd(of.get(day)?.usd ?? 0)}, ${count(of.get(day)?.requests ?? 0)} requests` }))} />
      <div className="row spread small soft num" aria-hidden><span>{all[0]}</span><span>{all.at(-1)} (UTC)</span></div>
    </figure>
  );
}

function ByDay({ days }: { days: number }) {
  const query = useSpend("day", days);
  return (
    <Panel title="By day">
      <Loaded query={query}>
        {(rows) => rows.length === 0 ? <Empty title="Nothing was asked in this time" /> : (
          <div className="stack">
            <Days rows={rows} days={days} />
            <Table label="Spend by day" columns={columns("Day (UTC)")} rows={[...rows].reverse()} id={(r) => r.label} />
          </div>
        )}
      </Loaded>
    </Panel>
  );
}

function Shares({ by, name, days }: { by: "key" | "model" | "strategy"; name: string; days: number }) {
  const query = useSpend(by, days);
  return (
    <Panel title={`By ${name.toLowerCase()}`}>
      <Loaded query={query}>
        {(rows) => {
          const all = rows.reduce((sum, r) => sum + r.usd, 0);
          if (rows.length === 0) return <p className="soft">Nothing in this time.</p>;
          return (
            <div className="stack">
              {all === 0 ? null : rows.slice(0, 8).map((r) => <Meter key={r.label} tone="accent" label={called(r.label, name)} share={r.usd / all} text={usd(r.usd)} />)}
              <Table label={`Spend by ${by}`} columns={columns(name)} rows={rows} id={(r) => r.label} />
            </div>
          );
        }}
      </Loaded>
    </Panel>
  );
}

export function Spend() {
  const [days, setDays] = useState(30);
  return (
    <div className="stack">
      <div className="filters"><Field name="Time">
        {(ids) => <select {...ids} className="input" value={days} onChange={(e) => { setDays(Number(e.target.value)); }}>{SPANS.map((s) => <option key={s.days} value={s.days}>{s.name}</option>)}</select>}
      </Field></div>
      <ByDay days={days} />
      <Shares by="key" name="Key" days={days} />
      <Shares by="model" name="Model" days={days} />
      <Shares by="strategy" name="Strategy" days={days} />
    </div>
  );
}
