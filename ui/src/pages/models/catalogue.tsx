/** What is known of models by name: those that run on a machine like this one, and those of cloud vendors with their prices. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { get } from "../../api/http";
import type { CatalogModel, List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Field } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count, usd } from "../../kit/words";
import { useAddress } from "../../shell/address";

const CLOUD = "cloud";

/** Whoever has a price cannot be fetched, embedding models of vendors too. */
function isCloud(m: CatalogModel): boolean {
  return m.category === CLOUD || m.price !== null;
}

function gigabytes(n: number | null): string {
  return n === null ? "–" : `${n.toLocaleString("en", { maximumFractionDigits: 1 })}\u00a0GB`;
}

function words(names: string[]): string {
  return names.join(", ").replaceAll("_", " ");
}

const NAME: Column<CatalogModel> = { name: "Model", show: (m) => <span className="wrap">{m.name}<span className="small soft block">{isCloud(m) ? m.provider : words([m.category])}</span></span> };
const CAN: Column<CatalogModel> = { name: "Can", show: (m) => <span className="small wrap">{words(m.capabilities)}</span> };
const CONTEXT: Column<CatalogModel> = { name: "Context", number: true, show: (m) => count(m.context) };

const HERE: Column<CatalogModel>[] = [
  NAME,
  { name: "Parameters", number: true, show: (m) => (m.parameters_b === null ? "–" : `${m.parameters_b.toString()}\u00a0B`) },
  { name: "Download", number: true, show: (m) => gigabytes(m.size_gb) },
  { name: "Memory", number: true, show: (m) => gigabytes(m.memory_gb) },
  CONTEXT,
  CAN,
  { name: "Published at", show: (m) => <span className="small soft wrap">{m.source ?? "–"}</span> },
];

const VENDORS: Column<CatalogModel>[] = [
  NAME,
  { name: "In, per million tokens", number: true, show: (m) => usd(m.price?.input) },
  { name: "Out", number: true, show: (m) => usd(m.price?.output) },
  CONTEXT,
  CAN,
];

export function Catalogue() {
  const [asked, setAsked] = useState("");
  const [where, setWhere] = useAddress("where", "here");
  const catalogue = useQuery({ queryKey: ["catalogue"], queryFn: ({ signal }) => get<List<CatalogModel>>("/api/catalog?limit=1000", signal), staleTime: Infinity });
  const known = (m: CatalogModel) => `${m.name} ${m.provider} ${m.category} ${m.capabilities.join(" ")}`.toLowerCase().replaceAll("_", " ");
  return (
    <div className="stack">
      <div className="filters">
        <Field name="Filter by name, provider or use">{(ids) => <input {...ids} className="input" type="search" value={asked} onChange={(e) => { setAsked(e.target.value); }} />}</Field>
        <Field name="Where they run">
          {(ids) => (
            <select {...ids} className="input" value={where} onChange={(e) => { setWhere(e.target.value); }}>
              <option value="here">on your own machine</option>
              <option value={CLOUD}>at a cloud vendor</option>
            </select>
          )}
        </Field>
      </div>
      <Loaded query={catalogue}>
        {({ items }) => {
          const shown = items.filter((m) => isCloud(m) === (where === CLOUD) && known(m).includes(asked.toLowerCase().replaceAll("_", " ")));
          return <Table label="Catalogue of models" columns={where === CLOUD ? VENDORS : HERE} rows={shown} id={(m) => `${m.provider}/${m.name}`} empty={<Empty title={`Nothing in the catalogue matches “${asked}”`} />} />;
        }}
      </Loaded>
    </div>
  );
}
