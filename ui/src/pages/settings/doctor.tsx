/** What is well and what is not with this installation, and the command that mends it. */
import { useQuery } from "@tanstack/react-query";

import { get } from "../../api/http";
import type { Check, List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Panel } from "../../kit/parts";
import { StateTag } from "../../kit/state";

export function Doctor() {
  const checks = useQuery({ queryKey: ["doctor"], queryFn: ({ signal }) => get<List<Check>>("/api/doctor", signal), staleTime: 30_000 });
  return (
    <Panel title="Doctor" actions={<Button small busy={checks.isFetching} onClick={() => void checks.refetch()}>Examine again</Button>}>
      <Loaded query={checks} label="examining">
        {({ items }) => (
          <ul className="plain-list stack">
            {items.map((check) => (
              <li key={check.check} className="stack tight">
                <div className="row"><StateTag state={check.state} /><strong>{check.check}</strong></div>
                <div className="small wrap">{check.detail}</div>
                {check.hint === null ? null : <div className="small soft">hint: <code className="wrap">{check.hint}</code></div>}
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </Panel>
  );
}
