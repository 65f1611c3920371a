/** What is well and what is not with this installation, and the command that mends it. */
import { useQuery } from "@tanstack/react-query";

import { get } from "../../api/http";
import type { Check, List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Panel } from "../../kit/parts";
import { StateTag } from "../../kit/state";

const WORST_FIRST = ["fail", "warn", "ok"] as const;

function told(items: Check[]): string {
  const wrong = items.filter((check) => check.state === "fail").length;
  const odd = items.filter((check) => check.state === "warn").length;
  if (wrong > 0) return `${String(wrong)} of ${String(items.length)} checks failed.`;
  return odd === 0 ? "All is well." : `Nothing is broken. ${String(odd)} things are missing or unusual; what you do not use can stay so.`;
}

export function Doctor() {
  const checks = useQuery({ queryKey: ["doctor"], queryFn: ({ signal }) => get<List<Check>>("/api/doctor", signal), staleTime: 30_000 });
  return (
    <Panel title="Doctor" actions={<Button small busy={checks.isFetching} onClick={() => void checks.refetch()}>Examine again</Button>}>
      <Loaded query={checks} label="examining">
        {({ items }) => (
          <div className="stack">
            <p className="small soft">{told(items)}</p>
            <ul className="plain-list checked">
              {WORST_FIRST.flatMap((state) => items.filter((check) => check.state === state)).map((check) => (
                <li key={check.check}>
                  <StateTag state={check.state} />
                  <strong>{check.check}</strong>
                  <span className="wrap">
                    {check.detail}
                    {check.hint === null ? null : <span className="small soft block">to mend it: <code className="wrap">{check.hint}</code></span>}
                  </span>
                </li>
              ))}
            </ul>
          </div>
        )}
      </Loaded>
    </Panel>
  );
}
