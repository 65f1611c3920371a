/** The strategies that are installed: list; one as YAML with its parts and the routing test bench. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { Strategy, StrategyHead } from "../../api/types";
import type { List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Empty, Panel, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { useMay } from "../../shell/me";
import { Bench } from "./bench";
import { Editor } from "./editor";

function Use({ of }: { of: StrategyHead }) {
  const use = useChange({ act: () => send("POST", `/api/strategies/${encodeURIComponent(of.name)}/use`), stale: ["strategies", "strategy", "playground"], done: () => `${of.name} is in use` });
  const may = useMay("admin");
  if (of.in_use) return <Tag tone="good">in use</Tag>;
  if (!may || of.file !== "") return null;
  return <Button small aria-label={`Use ${of.name}`} busy={use.isPending} onClick={() => { use.mutate(); }}>Use</Button>;
}

const VARIABLE = /^the variable (\w+) is not set$/;
/** What is missing for all its parts to answer, in a word; the reasons part by part in the tip. */
function Readiness({ of }: { of: StrategyHead }) {
  const reasons = Object.entries(of.off);
  const lacks = [...new Set(reasons.map(([, why]) => VARIABLE.exec(why)?.[1] ?? why))];
  const why = reasons.map(([part, reason]) => `${/^\d+$/.test(part) ? `fallback ${String(Number(part) + 1)}` : part}: ${reason}`).join("; ");
  return (
    <>
      {of.served ? <Tag tone="good" title="this server answers by it now">answering</Tag> : null}
      {lacks.length === 0 && !of.served ? <Tag tone="good">ready</Tag> : null}
      {lacks.length === 0 ? null : <Tag tone="warn" title={why}>{lacks.length === 1 ? `needs ${lacks[0] ?? ""}` : `needs ${String(lacks.length)} keys`}</Tag>}
    </>
  );
}

const COLUMNS: Column<StrategyHead>[] = [
  { name: "Name", show: (s) => (s.file === "" ? <Link to={`/gateway/strategies/${encodeURIComponent(s.name)}`}>{s.name}</Link> : s.name) },
  { name: "What it does", show: (s) => s.description },
  { name: "For", show: (s) => <span className="small soft">{s.use_cases.length === 0 ? "–" : s.use_cases.join(", ").replaceAll("_", " ")}</span> },
  { name: "State", show: (s) => <Readiness of={s} /> },
  { name: "From", show: (s) => (s.file === "" ? (s.own ? "yours" : "stead") : s.file) },
  { name: <span className="sr">Use</span>, show: (s) => <Use of={s} /> },
];

const PARTS: Column<Strategy["parts"][number]>[] = [
  { name: "Part", show: (p) => p.name },
  { name: "Kind", show: (p) => p.type },
  { name: "Model", show: (p) => (p.model === "" ? "–" : p.model) },
  { name: "State", show: (p) => (p.reason === "" ? <Tag tone="good">ready</Tag> : <span className="small wrap">{p.reason}</span>) },
];

function One({ name }: { name: string }) {
  const may = useMay("member");
  const query = useQuery({ queryKey: ["strategy", name], queryFn: ({ signal }) => get<Strategy>(`/api/strategies/${encodeURIComponent(name)}`, signal) });
  return (
    <div className="stack">
      <div><Link to="/gateway/strategies">All strategies</Link></div>
      <Loaded query={query}>
        {(strategy) => (
          <>
            <Panel title={strategy.name} actions={<Use of={strategy} />}>
              <div className="stack">
                <p className="soft">{strategy.description}</p>
                <Table label="Parts" columns={PARTS} rows={strategy.parts} id={(p) => p.name} empty={<p className="soft">It has no parts.</p>} />
              </div>
            </Panel>
            {may ? <Panel title="Test bench"><Bench name={strategy.name} /></Panel> : null}
            <Panel title="As YAML"><Editor key={strategy.yaml} strategy={strategy} /></Panel>
          </>
        )}
      </Loaded>
    </div>
  );
}

export function Strategies({ open }: { open: string }) {
  const query = useQuery({ queryKey: ["strategies"], queryFn: ({ signal }) => get<List<StrategyHead>>("/api/strategies", signal), enabled: open === "" });
  if (open !== "") return <One name={open} />;
  return (
    <Loaded query={query}>
      {({ items }) => <Table label="Strategies" columns={COLUMNS} rows={items} id={(s) => s.name} empty={<Empty title="There is no strategy" />} />}
    </Loaded>
  );
}
