/** What is known of models by name: what they can do, need and cost. Facts with a source, not an offer. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { get } from "../../api/http";
import type { CatalogModel, List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Field, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count, usd } from "../../kit/words";

function gigabytes(n: number | null): string {
  return n === null ? "–" : `${n.toLocaleString("en", { maximumFractionDigits: 1 })} GB`;
}

const COLUMNS: Column<CatalogModel>[] = [
  { name: "Model", show: (m) => <span className="wrap" title={m.source ?? undefined}>{m.name}</span> },
  { name: "From", show: (m) => m.provider },
  { name: "Used for", show: (m) => m.category.replaceAll("_", " ") },
  { name: "Parameters", number: true, show: (m) => (m.parameters_b === null ? "–" : `${m.parameters_b.toString()} B`) },
  { name: "Download", number: true, show: (m) => gigabytes(m.size_gb) },
  { name: "Memory", number: true, show: (m) => gigabytes(m.memory_gb) },
  { name: "Context", number: true, show: (m) => count(m.context) },
  { name: "In / out per million", number: true, show: (m) => (m.price === null ? "–" : `${usd(m.price.input)} / ${usd(m.price.output)}`) },
  { name: "Can", show: (m) => <span className="row">{m.capabilities.map((c) => <Tag key={c}>{c.replaceAll("_", " ")}</Tag>)}</span> },
];

export function Catalogue() {
  const [asked, setAsked] = useState("");
  const catalogue = useQuery({ queryKey: ["catalogue"], queryFn: ({ signal }) => get<List<CatalogModel>>("/api/catalog?limit=1000", signal), staleTime: Infinity });
  return (
    <div className="stack">
      <Field name="Filter by name, provider or use">{(ids) => <input {...ids} className="input" type="search" value={asked} onChange={(e) => { setAsked(e.target.value); }} />}</Field>
      <Loaded query={catalogue}>
        {({ items }) => {
          const words = asked.toLowerCase().replaceAll(" ", "_");
          const shown = items.filter((m) => `${m.name} ${m.provider} ${m.category} ${m.capabilities.join(" ")}`.toLowerCase().replaceAll(" ", "_").includes(words));
          return <Table label="Catalogue of models" columns={COLUMNS} rows={shown} id={(m) => `${m.provider}/${m.name}`} empty={<Empty title={`Nothing in the catalogue matches “${asked}”`} />} />;
        }}
      </Loaded>
    </div>
  );
}
