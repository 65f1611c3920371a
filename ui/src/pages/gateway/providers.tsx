/** The endpoints and how well they are. */
import { useQuery } from "@tanstack/react-query";

import { get } from "../../api/http";
import type { Provider } from "../../api/types";
import type { List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Tag, type Tone } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count } from "../../kit/words";

const EVERY_MS = 5000;
const STATES: Record<Provider["state"], [Tone, string]> = { ok: ["good", "ok"], open: ["warn", "left alone"], unavailable: ["bad", "not usable"] };
const COLUMNS: Column<Provider>[] = [
  { name: "Endpoint", show: (p) => <span className="wrap">{p.name}</span> },
  { name: "State", show: (p) => <Tag tone={STATES[p.state][0]}>{STATES[p.state][1]}</Tag> },
  { name: "Half answer within", number: true, show: (p) => (p.p50_ms === null ? "–" : `${count(p.p50_ms)} ms`) },
  { name: "Errors", number: true, show: (p) => (p.error_rate === null ? "–" : `${count(100 * p.error_rate)} %`) },
  { name: "Requests", number: true, show: (p) => count(p.requests) },
  { name: "Why", show: (p) => <span className="small soft wrap">{p.reason === "" || p.reason === null ? "–" : p.reason}</span> },
];

export function Providers() {
  const query = useQuery({ queryKey: ["providers"], queryFn: ({ signal }) => get<List<Provider>>("/api/providers", signal), refetchInterval: EVERY_MS });
  return (
    <div className="stack">
      <p className="soft">By the requests of the last hour. “Left alone”: too many of its answers failed, so others are asked until it has rested.</p>
      <Loaded query={query}>
        {({ items }) => <Table label="Providers" columns={COLUMNS} rows={items} id={(p) => p.name} empty={<Empty title="No endpoint is known yet"><p>Use a strategy, or serve a model.</p></Empty>} />}
      </Loaded>
    </div>
  );
}
