/** What the model says of itself, and what it came from. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import { get } from "../../api/http";
import type { LineageStep, ModelCard } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Markdown } from "../../kit/markdown";
import { Panel, Tag } from "../../kit/parts";
import { addressOf, pathOf } from "./one";

/** A card as the hubs write it: metadata between two lines of dashes, then Markdown. */
function Text({ card }: { card: string }) {
  const [, metadata, body] = /^---\r?\n([\s\S]*?)\r?\n---\r?\n?([\s\S]*)$/.exec(card) ?? [null, "", card];
  return (
    <div className="stack">
      <div className="card-text" tabIndex={0} role="group" aria-label="Text of the card"><Markdown text={(body ?? "").trim()} /></div>
      {metadata === undefined || metadata === "" ? null : <details className="small"><summary>What it says to a hub</summary><pre className="code" tabIndex={0}>{metadata}</pre></details>}
    </div>
  );
}

export function Card({ name }: { name: string }) {
  const card = useQuery({ queryKey: ["models", name, "card"], queryFn: ({ signal }) => get<ModelCard>(`${pathOf(name)}/card`, signal), retry: false });
  return (
    <Panel title="Card">
      <Loaded query={card}>
        {({ text }) => (text.trim() === "" ? <p className="small soft">The model came without a card.</p> : <Text card={text} />)}
      </Loaded>
    </Panel>
  );
}

/** The last part of a path: what people call the file. */
function last(path: string | null): string {
  return path === null ? "–" : path.split(/[\\/]/).filter((part) => part !== "").at(-1) ?? path;
}

function Step({ step, here }: { step: LineageStep; here: string }) {
  return (
    <li>
      <span className="row">
        {step.model === here ? <span className="wrap">{step.model}</span> : <Link className="wrap" to={addressOf(step.model)}>{step.model}</Link>}
        <Tag>version {step.version}</Tag>
      </span>
      <span className="small soft block wrap">
        {step.run === null ? `came from ${step.source}` : <>made from {last(step.base)} with {last(step.data)} by <Link to={`/runs/${encodeURIComponent(step.run)}`}>this run</Link></>}
      </span>
    </li>
  );
}

export function Lineage({ name }: { name: string }) {
  const steps = useQuery({ queryKey: ["models", name, "lineage"], queryFn: ({ signal }) => get<{ items: LineageStep[] }>(`${pathOf(name)}/lineage`, signal), retry: false });
  return (
    <Panel title="Lineage">
      <Loaded query={steps}>
        {({ items }) => (items.length === 0 ? <p className="small soft">Nothing here was trained to make it.</p> : (
          <ol className="stack tight">{items.map((step) => <Step key={`${step.model} ${String(step.version)}`} step={step} here={name} />)}</ol>
        ))}
      </Loaded>
    </Panel>
  );
}
