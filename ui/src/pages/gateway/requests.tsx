/** The newest requests as they end. */
import { useState } from "react";

import { useEvents, type Link } from "../../api/events";
import type { SeenRequest } from "../../api/types";
import { Button, Empty, Tag, type Tone } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count, seconds } from "../../kit/words";

const MOST = 200;
const LINKS: Record<Link, [Tone, string]> = { connecting: ["info", "connecting"], open: ["good", "live"], lost: ["bad", "connection lost; trying again"], ended: ["plain", "ended"] };

function tone(status: number): Tone {
  if (status < 400) return "good";
  return status === 499 ? "warn" : "bad";
}

const COLUMNS: Column<SeenRequest>[] = [
  { name: "Time", show: (r) => <span className="mono">{new Date(r.at).toLocaleTimeString()}</span> },
  { name: "Route", show: (r) => <span className="mono">{r.route}</span> },
  { name: "Model", show: (r) => r.model },
  { name: "Status", show: (r) => <Tag tone={tone(r.status)} title={r.status === 499 ? "the client left" : r.code}>{`${String(r.status)} ${r.code}`}</Tag> },
  { name: "First token", number: true, show: (r) => seconds(r.first_s) },
  { name: "Took", number: true, show: (r) => seconds(r.seconds) },
  { name: "Tokens in", number: true, show: (r) => count(r.prompt_tokens) },
  { name: "Tokens out", number: true, show: (r) => count(r.completion_tokens) },
  { name: "Key", show: (r) => (r.key === "" ? "–" : r.key) },
];

export function Requests() {
  const [rows, setRows] = useState<SeenRequest[]>([]);
  const [held, setHeld] = useState<SeenRequest[] | null>(null);
  const link = useEvents<SeenRequest>("/api/requests?live=1", ({ data }) => { setRows((old) => [data, ...old].slice(0, MOST)); });
  const [color, word] = LINKS[link];
  return (
    <div className="stack">
      <div className="row spread">
        <Tag tone={color}>{word}</Tag>
        <Button small aria-pressed={held !== null} onClick={() => { setHeld(held === null ? rows : null); }}>{held === null ? "Hold" : "Go on"}</Button>
      </div>
      <Table label="Requests" columns={COLUMNS} rows={held ?? rows} id={(r) => r.number} empty={<Empty title="No request yet"><p>Ask something in the Playground, or by any client at <code>/v1</code>.</p></Empty>} />
    </div>
  );
}
