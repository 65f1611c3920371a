/** Above the talk: which models are asked, one column each. */
import type { Askable } from "../../api/types";
import { Button, Field } from "../../kit/parts";
import { MOST_MODELS } from "./setup";

function told({ id, title, vendor }: Askable): string {
  const known = title === "" ? id : title;
  return vendor === "" || vendor === "stead" ? known : `${known} · ${vendor}`;
}

/** What people read in place of a name; a run's is its own. */
export function nameOf(id: string, models: Askable[]): string {
  const title = models.find((m) => m.id === id)?.title ?? "";
  return title === "" ? id : title;
}

export function Models({ chosen, change, models }: { chosen: string[]; change: (models: string[]) => void; models: Askable[] }) {
  const known = (id: string) => models.some((m) => m.id === id);
  return (
    <div className="asked">
      {chosen.map((model, i) => (
        <Field key={i} name={chosen.length === 1 ? "Model" : `Model ${String(i + 1)}`} fault={known(model) || models.length === 0 ? undefined : "not served now"}>
          {(ids) => (
            <div className="row nowrap">
              <select {...ids} className="input grow" value={model} onChange={(e) => { change(chosen.map((old, j) => (j === i ? e.target.value : old))); }}>
                {known(model) ? null : <option value={model}>{model}</option>}
                {models.map((m) => <option key={m.id} value={m.id}>{told(m)}</option>)}
              </select>
              {chosen.length === 1 ? null : <Button small aria-label={`Take off model ${String(i + 1)}`} onClick={() => { change(chosen.filter((_, j) => j !== i)); }}>×</Button>}
            </div>
          )}
        </Field>
      ))}
      {chosen.length >= MOST_MODELS || models.length === 0 ? null : (
        <Button aria-label="Compare with another model" onClick={() => { change([...chosen, models[chosen.length % models.length]?.id ?? ""]); }}>+ Compare</Button>
      )}
    </div>
  );
}
