/** Search of a hub, and the order to fetch what was found. */
import { useQuery } from "@tanstack/react-query";
import { useState, type SyntheticEvent } from "react";
import { Link, useSearchParams } from "react-router";

import { get } from "../../api/http";
import type { HubModel, List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Empty, Field, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { ago, bytes, short } from "../../kit/words";
import { Fetch } from "./fetch";
import { useHubToken } from "./publish";

const FOUND = 30;
const TAGS_SHOWN = 4;

function TokenNote() {
  const token = useHubToken();
  if (token.data === undefined) return null;
  const { present, user, source } = token.data;
  if (!present) return <p className="small soft">No access token of the hub is set: public models only. Set HF_TOKEN where the server starts for gated ones.</p>;
  return <p className="small soft">Signed in to the hub{user === null ? "" : ` as ${user}`}{source === null ? "" : ` (token from ${source})`}.</p>;
}

const COLUMNS: Column<HubModel>[] = [
  { name: "Model", show: (m) => <span className="wrap">{m.name}</span> },
  { name: "Size", number: true, show: (m) => bytes(m.bytes) },
  { name: "Downloads", number: true, show: (m) => short(m.downloads) },
  { name: "Likes", number: true, show: (m) => short(m.likes) },
  { name: "Changed", show: (m) => (m.updated === "" ? "–" : ago(m.updated)) },
  { name: "Tags", show: (m) => <span className="row">{m.tags.slice(0, TAGS_SHOWN).map((t) => <Tag key={t}>{t}</Tag>)}</span> },
  { name: <span className="sr">Action</span>, show: (m) => <Fetch refTo={m.ref} name={m.name} /> },
];

const SUGGESTED = ["SmolLM2 Instruct", "Qwen2.5 0.5B Instruct", "TinyLlama Chat", "Llama 3.2 1B", "gemma 2 2b"];

/** Where to begin, for those who know no name. */
function Suggested({ onPick }: { onPick: (words: string) => void }) {
  return (
    <div className="stack tight">
      <div className="row"><span className="small soft">For instance:</span>{SUGGESTED.map((words) => <Button key={words} small onClick={() => { onPick(words); }}>{words}</Button>)}</div>
      <p className="small soft">Those that are good to begin with are in the <Link to="/models?tab=catalogue">catalogue</Link>.</p>
    </div>
  );
}

export function Hub() {
  const [search, setSearch] = useSearchParams();
  const asked = search.get("q") ?? "";
  const [text, setText] = useState(asked);
  const found = useQuery({
    queryKey: ["hub", asked],
    queryFn: ({ signal }) => get<List<HubModel>>(`/api/hub/search?q=${encodeURIComponent(asked)}&limit=${FOUND.toString()}`, signal),
    enabled: asked !== "",
    staleTime: 60_000,
  });
  const submit = (e: SyntheticEvent) => { e.preventDefault(); setSearch({ tab: "hub", q: text.trim() }); };
  return (
    <div className="stack">
      <form className="row" role="search" onSubmit={submit} style={{ alignItems: "start" }}>
        <div className="grow">
          <Field name="Words of the name" help="Such as a maker, a family or a size. Nothing is asked of the hub before you search.">{(ids) => <input {...ids} className="input" type="search" value={text} onChange={(e) => { setText(e.target.value); }} />}</Field>
        </div>
        <Button kind="primary" type="submit" className="below-label" disabled={text.trim() === ""} busy={found.isFetching}>Search</Button>
      </form>
      <TokenNote />
      {asked === "" ? <Suggested onPick={(q) => { setText(q); setSearch({ tab: "hub", q }); }} /> : (
        <Loaded query={found} label="asking the hub">
          {({ items }) => <Table label="Models of the hub" columns={COLUMNS} rows={items} id={(m) => m.ref} empty={<Empty title={`The hub knows no model “${asked}”`} />} />}
        </Loaded>
      )}
    </div>
  );
}
