/** Starting the run, once: the same recipe sent twice, by a double click or after a lost answer, is one run. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { useNavigate } from "react-router";

import { send } from "../../api/http";
import type { Planned, Started } from "../../api/types";
import { Button, Panel } from "../../kit/parts";
import { Fault } from "../../kit/problem";

function freshKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

function said(plan: Planned | undefined, missing: string | null, isRefused: boolean): string {
  if (missing !== null) return missing;
  if (isRefused) return "What the plan refuses must be mended first.";
  const tight = plan?.plan.verdicts.find((v) => v.verdict !== "fits");
  if (tight === undefined) return "It runs on the server and goes on when you close this page.";
  return tight.sure ? `It will be refused: the ${tight.allow} does not suffice.` : `Careful: the ${tight.allow} ${tight.verdict}.`;
}

export function Start({ yaml, missing, isRefused, plan }: { yaml: string; missing: string | null; isRefused: boolean; plan: Planned | undefined }) {
  const go = useNavigate();
  const cache = useQueryClient();
  const sent = useRef({ yaml: "", key: "" });
  const start = useMutation({
    mutationFn: () => {
      if (sent.current.yaml !== yaml) sent.current = { yaml, key: freshKey() };
      return send<Started>("POST", "/api/runs", { yaml, idempotency_key: sent.current.key });
    },
    onSuccess: ({ run }) => {
      sent.current = { yaml: "", key: "" };
      void cache.invalidateQueries({ queryKey: ["runs"] });
      void go(`/runs/${encodeURIComponent(run.id)}`);
    },
  });
  return (
    <Panel label="Start">
      <div className="stack tight">
        <Button kind="primary" busy={start.isPending} disabled={missing !== null || isRefused} onClick={() => { start.mutate(); }}>Start training</Button>
        <p className="small soft">{said(plan, missing, isRefused)}</p>
        {start.isError ? <Fault error={start.error} /> : null}
      </div>
    </Panel>
  );
}
