/** Which other runs are drawn over this one. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { get } from "../../api/http";
import type { List, Run } from "../../api/types";
import { Button, Field } from "../../kit/parts";
import { ago } from "../../kit/words";

const MOST = 5;

function useOfferable(enabled = true) {
  return useQuery({ queryKey: ["runs", "names"], queryFn: ({ signal }) => get<List<Run>>("/api/runs?limit=100", signal), staleTime: 30_000, enabled });
}

function named(run: Run): string {
  return run.name === "" ? run.id : run.name;
}

/** The chosen runs by name; by id until that is known. */
export function useNamed(ids: string[]): { id: string; name: string }[] {
  const items = useOfferable(ids.length > 0).data?.items;
  const told = ids.join("\n");
  return useMemo(() => (told === "" ? [] : told.split("\n")).map((id) => {
    const found = items?.find((one) => one.id === id);
    return { id, name: found === undefined ? id : named(found) };
  }), [told, items]);
}

export function OverlayChoice({ run, chosen, onChange }: { run: Run; chosen: { id: string; name: string }[]; onChange: (ids: string[]) => void }) {
  const runs = useOfferable();
  const ids = chosen.map(({ id }) => id);
  const others = (runs.data?.items ?? []).filter((one) => one.id !== run.id && one.step > 0 && !ids.includes(one.id));
  if (others.length === 0 && chosen.length === 0) return null;
  return (
    <div className="filters">
      <Field name="Draw another run over this one">
        {(own) => (
          <select {...own} className="input" value="" disabled={chosen.length >= MOST || others.length === 0} onChange={(e) => { onChange([...ids, e.target.value]); }}>
            <option value="">choose …</option>
            {others.map((one) => <option key={one.id} value={one.id}>{named(one)} · {one.method} · {ago(one.started ?? one.created)}</option>)}
          </select>
        )}
      </Field>
      <div className="row">
        {chosen.map((one) => <Button key={one.id} small aria-label={`remove ${one.name}`} onClick={() => { onChange(ids.filter((id) => id !== one.id)); }}>{one.name} ×</Button>)}
      </div>
    </div>
  );
}
