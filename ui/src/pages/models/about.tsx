/** What the model says of itself, and what it came from. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import { get } from "../../api/http";
import type { LineageStep, ModelCard } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Panel, Tag } from "../../kit/parts";
import { pathOf } from "./one";

export function Card({ name }: { name: string }) {
  const card = useQuery({ queryKey: ["models", name, "card"], queryFn: ({ signal }) => get<ModelCard>(`${pathOf(name)}/card`, signal), retry: false });
  return (
    <Panel title="Card">
      <Loaded query={card}>
        {({ text }) => (text.trim() === "" ? <p className="small soft">The model came without a card.</p> : <pre className="code card-text" tabIndex={0}>{text}</pre>)}
      </Loaded>
    </Panel>
  );
}

export function Lineage({ name }: { name: string }) {
  const steps = useQuery({ queryKey: ["models", name, "lineage"], queryFn: ({ signal }) => get<{ items: LineageStep[] }>(`${pathOf(name)}/lineage`, signal), retry: false });
  return (
    <Panel title="Lineage">
      <Loaded query={steps}>
        {({ items }) => (items.length === 0 ? <p className="small soft">Nothing here was trained to make it.</p> : (
          <ol className="stack tight">
            {items.map((step, i) => (
              <li key={i}>
                <span className="row"><span className="wrap">{step.model}</span><Tag>version {step.version}</Tag></span>
                <span className="small soft block wrap">
                  {step.run === null ? step.source : <>made by run <Link to={`/runs/${encodeURIComponent(step.run)}`}>{step.run}</Link> from {step.base ?? "–"} with {step.data ?? "–"}</>}
                </span>
              </li>
            ))}
          </ol>
        ))}
      </Loaded>
    </Panel>
  );
}
