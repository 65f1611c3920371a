/** The way from an empty home to an answer of one's own model; what is done is ticked. */
import { useQueries } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";

import { get } from "../../api/http";
import type { Hint, List } from "../../api/types";
import { Button, Panel, Tag } from "../../kit/parts";

const HIDDEN = "stead-first-steps-hidden";
const STEPS = [
  { title: "Get a model", detail: "Take one that is good to begin with, search a hub, or name a folder on this machine.", href: "/models", counts: "/api/models" },
  { title: "Bring your data", detail: "Drop a file of questions and answers; its format is recognized and checked row by row.", href: "/datasets", counts: "/api/datasets" },
  { title: "Train", detail: "Choose model and data; memory and time are foretold before anything starts.", href: "/train", counts: "/api/runs" },
  { title: "Compare", detail: "See whether the tuned model answers better than before, with intervals.", href: "/evaluate", counts: "/api/evaluations" },
  { title: "Talk to it", detail: "Chat with up to three models side by side.", href: "/playground", counts: "/api/chats" },
] as const;

/** Shown until every step was made once, or until somebody wants to see it no more; `always`: there is nothing else to show. */
export function FirstSteps({ always }: { always: boolean }) {
  const [hidden, setHidden] = useState(localStorage.getItem(HIDDEN) !== null);
  const counted = useQueries({
    queries: STEPS.map(({ counts }) => ({
      queryKey: ["count", counts],
      queryFn: async ({ signal }: { signal: AbortSignal }) => (await get<List<unknown>>(`${counts}?limit=1`, signal)).total,
    })),
  });
  const next = counted.findIndex((c) => c.data === 0);
  const hide = () => { localStorage.setItem(HIDDEN, "yes"); setHidden(true); };
  if (!always && (hidden || next === -1)) return null;
  return (
    <Panel title="What to do first" actions={always ? null : <Button small kind="plain" onClick={hide}>Hide</Button>}>
      <ol className="steps">
        {STEPS.map((step, i) => (
          <li key={step.href} className="row" aria-current={i === next ? "step" : undefined}>
            <span className="mark" aria-hidden>{i + 1}</span>
            <span className="grow">
              <Link to={step.href}>{step.title}</Link>
              <span className="small soft block">{step.detail}</span>
            </span>
            {(counted[i]?.data ?? 0) > 0 ? <Tag tone="good">done</Tag> : null}
          </li>
        ))}
      </ol>
    </Panel>
  );
}

export function Hints({ hints }: { hints: Hint[] }) {
  return (
    <Panel title="What to do next">
      <ul className="plain-list stack">
        {hints.map((hint) => (
          <li key={hint.title}>
            <Link to={hint.href}>{hint.title}</Link>
            <div className="small soft">{hint.detail}</div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
