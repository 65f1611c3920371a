/** Runs side by side: where their settings and results differ, and their curves over one another. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link, useSearchParams } from "react-router";

import { get } from "../../api/http";
import type { Comparison, Run } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Panel } from "../../kit/parts";
import { StateTag } from "../../kit/state";
import { Table, type Column } from "../../kit/table";
import { number } from "../../kit/words";
import { Page } from "../../shell/page";
import { useOthers } from "./asking";
import { ChartsOf } from "./charts";

type Row = Comparison["differences"][number];

function said(value: unknown): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return number(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function named(run: Run): string {
  return run.name === "" ? run.id : run.name;
}

/** Names that tell runs apart: equal ones get their id. */
function names(runs: Run[]): string[] {
  const all = runs.map(named);
  return runs.map((run, i) => (all.filter((n) => n === all[i]).length > 1 ? `${named(run)} (${run.id.slice(-6)})` : named(run)));
}

function Differences({ found }: { found: Comparison }) {
  const told = names(found.runs);
  const columns: Column<Row>[] = [
    { name: "Setting or result", show: (row) => <code>{row.field}</code> },
    ...found.runs.map((run, i) => ({
      name: <Link to={`/runs/${encodeURIComponent(run.id)}`}>{told[i]}</Link>,
      show: (row: Row) => <span className="wrap">{said(row.values[i])}</span>,
    })),
  ];
  const states: Row = { field: "state", values: found.runs.map((run) => run.state) };
  const rows = found.runs.some((run) => run.state !== found.runs[0]?.state) ? [states, ...found.differences] : found.differences;
  return <Table label="Settings and results that differ" columns={columns} rows={rows} id={(row) => row.field} empty={<Empty title="All settings and results are equal" />} />;
}

function Overlaid({ runs }: { runs: Run[] }) {
  const { feeds, waiting, error } = useOthers(runs.map((run) => run.id));
  const told = names(runs).join("\n");
  const ids = runs.map((run) => run.id).join("\n");
  const shown = useMemo(() => {
    const labels = told.split("\n");
    return ids.split("\n").flatMap((id, i) => { const feed = feeds[i]; return feed === undefined ? [] : [{ id, name: labels[i] ?? id, feed }]; });
  }, [feeds, told, ids]);
  return <ChartsOf runs={shown} waiting={waiting} error={error} />;
}

export function Compare() {
  const [search] = useSearchParams();
  const ids = search.get("ids") ?? "";
  const found = useQuery({ queryKey: ["compare", ids], queryFn: ({ signal }) => get<Comparison>(`/api/runs/compare?ids=${encodeURIComponent(ids)}`, signal), enabled: ids !== "" });
  if (ids === "") return <Page title="Compare runs"><Empty title="No runs are chosen"><Link className="button" to="/runs">Choose runs</Link></Empty></Page>;
  return (
    <Page title="Compare runs" lead="Only what is not the same in all of them." actions={<Link className="button" to="/runs">All runs</Link>}>
      <Loaded query={found}>
        {(data) => (
          <>
            <div className="row">{data.runs.map((run) => <span key={run.id} className="row"><Link to={`/runs/${encodeURIComponent(run.id)}`}>{named(run)}</Link><StateTag state={run.state} /></span>)}</div>
            <Panel title="Differences"><Differences found={data} /></Panel>
            <Overlaid runs={data.runs} />
          </>
        )}
      </Loaded>
    </Page>
  );
}
