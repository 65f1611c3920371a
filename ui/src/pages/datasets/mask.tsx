/** One row as the model gets it, token by token, with exactly what is trained marked. */
import { useState, type ReactNode } from "react";

import type { Dataset, MaskRow } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Field, Meter, Panel } from "../../kit/parts";
import { count, whole } from "../../kit/words";
import { useAddressNumber } from "../../shell/address";
import { Longest } from "./longest";
import { useMask } from "./queries";
import { Legend, Tokens } from "./tokens";
import { WithTokenizer } from "./tokenizer";

function RowChoice({ row, rows, onChange }: { row: number; rows: number | null; onChange: (row: number) => void }) {
  const last = rows === null ? null : Math.max(0, rows - 1);
  return (
    <Field name="Row" help={last === null ? "counted from 0" : `0 to ${count(last)}`}>
      {(ids) => (
        <div className="row nowrap">
          <Button disabled={row === 0} aria-label="Previous row" onClick={() => { onChange(row - 1); }}>‹</Button>
          <input {...ids} className="input" type="number" min={0} max={last ?? undefined} value={row} onChange={(e) => { onChange(whole(e.target.value)); }} />
          <Button disabled={row === last} aria-label="Next row" onClick={() => { onChange(row + 1); }}>›</Button>
        </div>
      )}
    </Field>
  );
}

function Found({ mask, ids, onIds }: { mask: MaskRow; ids: boolean; onIds: (shown: boolean) => void }) {
  const share = mask.total === 0 ? 0 : mask.trained / mask.total;
  return (
    <Panel title={`Row ${count(mask.row)}`} actions={<label className="check small"><input type="checkbox" checked={ids} onChange={(e) => { onIds(e.target.checked); }} />token numbers</label>}>
      <div className="stack">
        <Meter label="Trained" share={share} tone="accent" text={`${count(mask.trained)} of ${count(mask.total)} tokens`} />
        <Legend />
        <Tokens tokens={mask.tokens} ids={ids} />
      </div>
    </Panel>
  );
}

function Asked({ dataset, model, choice }: { dataset: Dataset; model: string; choice: ReactNode }) {
  const [row, setRow] = useAddressNumber("row");
  const [longest, setLongest] = useAddressNumber("max_length");
  const [ids, setIds] = useState(false);
  const mask = useMask(dataset.id, model, row, longest);
  return (
    <div className="stack">
      <div className="grid">
        {choice}
        <RowChoice row={row} rows={dataset.rows} onChange={setRow} />
        <Longest value={longest} onChange={setLongest} />
      </div>
      <div aria-busy={mask.isFetching}>
        <Loaded query={mask} label="making the tokens">{(found) => <Found mask={found} ids={ids} onIds={setIds} />}</Loaded>
      </div>
    </div>
  );
}

export function Mask({ dataset }: { dataset: Dataset }) {
  return <WithTokenizer>{(model, choice) => <Asked dataset={dataset} model={model} choice={choice} />}</WithTokenizer>;
}
