/** What is known of models by name: those to begin with, which can be fetched and trained, those that other programs run, and those of cloud vendors with their prices. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { get } from "../../api/http";
import { useHardware } from "../../api/nouns";
import type { CatalogModel, List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Field, Tag } from "../../kit/parts";
import { Table, type Column } from "../../kit/table";
import { count, usd } from "../../kit/words";
import { useAddress } from "../../shell/address";
import { Fetch } from "./fetch";

const CLOUD = "cloud";
const HUB = "huggingface";
const GIGA = 1e9;

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

/** Where a model can be had: fetched from the hub to be trained here, run by another program, or asked at a vendor. */
function placeOf(m: CatalogModel): string {
  return isCloud(m) ? CLOUD : m.provider === HUB ? "train" : "run";
}

function Fits({ model }: { model: CatalogModel }) {
  const hardware = useHardware();
  if (hardware.data === undefined || model.memory_gb == null) return null;
  const { ram_bytes: main, gpus } = hardware.data;
  const most = Math.max(main, ...gpus.map((g) => g.memory_bytes));
  return model.memory_gb * GIGA < most ? <Tag tone="good">fits here</Tag> : <Tag tone="warn">too large for this machine</Tag>;
}

const NAME: Column<CatalogModel> = { name: "Model", show: (m) => <span className="wrap">{m.name}<span className="small soft block">{isCloud(m) ? m.provider : words([m.category])}</span></span> };
const CAN: Column<CatalogModel> = { name: "Can", show: (m) => <span className="small wrap">{words(m.capabilities)}</span> };
const CONTEXT: Column<CatalogModel> = { name: "Context", number: true, show: (m) => count(m.context) };

const SIZES: Column<CatalogModel>[] = [
  { name: "Parameters", number: true, show: (m) => (m.parameters_b === null ? "–" : `${m.parameters_b.toString()}\u00a0B`) },
  { name: "Download", number: true, show: (m) => gigabytes(m.size_gb) },
  { name: "Memory", number: true, show: (m) => gigabytes(m.memory_gb) },
  CONTEXT,
];

const TRAIN: Column<CatalogModel>[] = [
  NAME, ...SIZES, { name: "On this machine", show: (m) => <Fits model={m} /> }, CAN,
  { name: <span className="sr">Action</span>, show: (m) => <Fetch refTo={`hf:${m.name}`} name={m.name} /> },
];
const RUN: Column<CatalogModel>[] = [NAME, ...SIZES, { name: "On this machine", show: (m) => <Fits model={m} /> }, CAN, { name: "From", show: (m) => <span className="small soft">{m.source ?? "–"}</span> }];

const VENDORS: Column<CatalogModel>[] = [
  NAME,
  { name: "In, per million tokens", number: true, show: (m) => usd(m.price?.input) },
  { name: "Out", number: true, show: (m) => usd(m.price?.output) },
  CONTEXT,
  CAN,
];

const PLACES: Record<string, { name: string; about: string; columns: Column<CatalogModel>[] }> = {
  train: { name: "to train and to run here", about: "Open models that are good to begin with. They are fetched from the hub and can be trained; the smallest are quick on any machine.", columns: TRAIN },
  run: { name: "to run here with Ollama", about: "Quantized models that Ollama runs on this machine, for the gateway to ask: ollama pull NAME. They cannot be trained.", columns: RUN },
  cloud: { name: "at a cloud vendor", about: "Models of vendors, for the gateway to ask; prices in US dollars per million tokens.", columns: VENDORS },
};

export function Catalogue() {
  const [asked, setAsked] = useState("");
  const [where, setWhere] = useAddress("where", "train");
  const catalogue = useQuery({ queryKey: ["catalogue"], queryFn: ({ signal }) => get<List<CatalogModel>>("/api/catalog?limit=1000", signal), staleTime: Infinity });
  const place = PLACES[where] ?? PLACES.train;
  const known = (m: CatalogModel) => `${m.name} ${m.provider} ${m.category} ${m.capabilities.join(" ")}`.toLowerCase().replaceAll("_", " ");
  return (
    <div className="stack">
      <div className="filters">
        <Field name="Filter by name, provider or use">{(ids) => <input {...ids} className="input" type="search" value={asked} onChange={(e) => { setAsked(e.target.value); }} />}</Field>
        <Field name="Which">
          {(ids) => (
            <select {...ids} className="input" value={where} onChange={(e) => { setWhere(e.target.value); }}>
              {Object.entries(PLACES).map(([id, { name }]) => <option key={id} value={id}>{name}</option>)}
            </select>
          )}
        </Field>
      </div>
      <p className="small soft">{place?.about}</p>
      <Loaded query={catalogue}>
        {({ items }) => {
          const shown = items.filter((m) => placeOf(m) === where && known(m).includes(asked.toLowerCase().replaceAll("_", " ")));
          return <Table label="Catalogue of models" columns={place?.columns ?? TRAIN} rows={shown} id={(m) => `${m.provider}/${m.name}`} empty={<Empty title={`Nothing in the catalogue matches “${asked}”`} />} />;
        }}
      </Loaded>
    </div>
  );
}
