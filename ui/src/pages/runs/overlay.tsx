/** Which other runs are drawn over this one. */
import { useQuery } from "@tanstack/react-query";

import { get } from "../../api/http";
import type { List, Run } from "../../api/types";
import { Button, Field } from "../../kit/parts";

interface Named {
  id: string;
  name: string;
}
const MOST = 5;

export function OverlayChoice({ run, chosen, onChange }: { run: Run; chosen: Named[]; onChange: (runs: Named[]) => void }) {
  const runs = useQuery({ queryKey: ["runs", "names"], queryFn: ({ signal }) => get<List<Run>>("/api/runs?limit=100", signal), staleTime: 30_000 });
  const others = (runs.data?.items ?? []).filter((one) => one.id !== run.id && one.step > 0 && !chosen.some(({ id }) => id === one.id));
  if (others.length === 0 && chosen.length === 0) return null;
  const add = (id: string) => {
    const found = others.find((one) => one.id === id);
    if (found !== undefined) onChange([...chosen, { id, name: found.name === "" ? id : found.name }]);
  };
  return (
    <div className="filters">
      <Field name="Draw another run over this one">
        {(ids) => (
          <select {...ids} className="input" value="" disabled={chosen.length >= MOST || others.length === 0} onChange={(e) => { add(e.target.value); }}>
            <option value="">choose …</option>
            {others.map((one) => <option key={one.id} value={one.id}>{one.name === "" ? one.id : one.name} · {one.method}</option>)}
          </select>
        )}
      </Field>
      <div className="row">
        {chosen.map((one) => <Button key={one.id} small aria-label={`remove ${one.name}`} onClick={() => { onChange(chosen.filter(({ id }) => id !== one.id)); }}>{one.name} ×</Button>)}
      </div>
    </div>
  );
}
