/** What happened, and the command that mends it. */
import { Problem } from "../api/http";
import type { Told } from "../api/types";
import { Button, Note } from "./parts";

function Hint({ hint }: { hint: string | null | undefined }) {
  return hint === null || hint === undefined ? null : <div className="small">hint: <code>{hint}</code></div>;
}

export function Fault({ error, again }: { error: unknown; again?: () => void }) {
  const told = error instanceof Error ? error.message : String(error);
  const hint = error instanceof Problem ? error.hint : null;
  const id = error instanceof Problem ? error.errorId : null;
  return (
    <Note tone="bad">
      <div className="stack tight">
        <div>{told}</div>
        <Hint hint={hint} />
        {id === null ? null : <div className="small">error {id}</div>}
        {again === undefined ? null : <div><Button small onClick={again}>Try again</Button></div>}
      </div>
    </Note>
  );
}

/** Why a job failed. */
export function Refused({ fault }: { fault: Told }) {
  return <Note tone="bad"><div>{fault.message}</div><Hint hint={fault.hint} /></Note>;
}
