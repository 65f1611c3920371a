/** What the model says of itself, and what it came from. */
import { useQuery } from "@tanstack/react-query";

import { get } from "../../api/http";
import type { LineageStep, ModelCard } from "../../api/types-shell";
import { Loaded } from "../../kit/loaded";
import { Panel, Tag } from "../../kit/parts";
import { ago } from "../../kit/words";
import { pathOf } from "./one";

export function Card({ name }: { name: string }) {
  const card = useQuery({ queryKey: ["models", name, "card"], queryFn: ({ signal }) => get<ModelCard>(`${pathOf(name)}/card`, signal), retry: false });
  return (
    <Panel title="Card">
      <Loaded query={card}>
        {({ text }) => (text === null || text.trim() === "" ? <p className="small soft">The model came without a card.</p> : <pre className="code card-text" tabIndex={0}>{text}</pre>)}
      </Loaded>
    </Panel>
  );
}

export function Lineage({ name }: { name: string }) {
  const steps = useQuery({ queryKey: ["models", name, "lineage"], queryFn: ({ signal }) => get<{ items: LineageStep[] }>(`${pathOf(name)}/lineage`, signal), retry: false });
  return (
    <Panel title="Lineage">
      <Loaded query={steps}>
        {({ items }) => (items.length === 0 ? <p className="small soft">Where it came from was not recorded.</p> : (
          <ol className="stack tight">
            {items.map((step, i) => (
              <li key={i}>
                <span className="row"><Tag>{step.kind}</Tag><span className="wrap">{step.name}</span></span>
                <span className="small soft block">{[step.detail, step.created === null ? "" : ago(step.created)].filter((t) => t !== "").join(" · ")}</span>
              </li>
            ))}
          </ol>
        ))}
      </Loaded>
    </Panel>
  );
}
