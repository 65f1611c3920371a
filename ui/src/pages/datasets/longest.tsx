/** How many tokens a row may have before it is cut or left out. */
import { Field } from "../../kit/parts";
import { whole } from "../../kit/words";

export function Longest({ value, onChange }: { value: number; onChange: (tokens: number) => void }) {
  return (
    <Field name="Longest row" help="in tokens; empty: as long as the model allows">
      {(ids) => <input {...ids} className="input" type="number" min={1} value={value === 0 ? "" : value} onChange={(e) => { onChange(whole(e.target.value)); }} />}
    </Field>
  );
}
