/** The models of this machine. */
import { useState } from "react";
import { Link } from "react-router";

import { useModels } from "../../api/nouns";
import type { Model } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Field, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { bytes, count, short } from "../../kit/words";
import { addressOf } from "./one";

function Aliases({ model }: { model: Model }) {
  const names = Object.keys(model.aliases);
  return names.length === 0 ? "–" : <span className="row">{names.map((name) => <Tag key={name} tone="accent">{name}</Tag>)}</span>;
}

const COLUMNS: Column<Model>[] = [
  { name: "Name", show: (m) => <Link to={addressOf(m.name)} className="wrap">{m.name}</Link> },
  { name: "Kind", show: (m) => m.kind },
  { name: "Family", show: (m) => m.family },
  { name: "Parameters", number: true, show: (m) => short(m.parameters) },
  { name: "Size", number: true, show: (m) => bytes(m.bytes) },
  { name: "Precision", show: (m) => m.dtype },
  { name: "Context", number: true, show: (m) => (m.context === 0 ? "–" : count(m.context)) },
  { name: "Versions", number: true, show: (m) => m.versions.length },
  { name: "Aliases", show: (m) => <Aliases model={m} /> },
];

export function Installed() {
  const models = useModels();
  const [asked, setAsked] = useState("");
  return (
    <Loaded query={models}>
      {({ items }) => {
        if (items.length === 0) return <Nothing />;
        const shown = items.filter((m) => `${m.name} ${m.family} ${m.kind}`.toLowerCase().includes(asked.toLowerCase()));
        return (
          <div className="stack">
            {items.length > 8 ? <Field name="Filter">{(ids) => <input {...ids} className="input" type="search" value={asked} onChange={(e) => { setAsked(e.target.value); }} />}</Field> : null}
            <Table label="Installed models" columns={COLUMNS} rows={shown} id={(m) => m.name} empty={<Empty title={`No model matches “${asked}”`} />} />
          </div>
        );
      }}
    </Loaded>
  );
}

function Nothing() {
  return (
    <Empty title="No model is here yet">
      <p>Take one that is good to begin with, search a hub, or name a folder or GGUF file of this machine.</p>
      <div className="row">
        <Link className="button primary" to="/models?tab=catalogue">Models to begin with</Link>
        <Link className="button" to="/models?tab=hub">Find on a hub</Link>
        <Link className="button" to="/models?tab=add">Add by path</Link>
      </div>
    </Empty>
  );
}
