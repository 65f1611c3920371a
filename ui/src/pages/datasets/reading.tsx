/** How the file is read, why, and another way to read it when that was wrong. */
import { useState } from "react";

import { useKinds } from "../../api/nouns";
import type { Dataset, Kind, Kinds } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Facts, Field, Panel, Tag } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { useTell } from "../../kit/toast";
import { Mapping } from "./mapping";
import { readAs, useReread, type Reading } from "./queries";

function Choice({ name, value, entries, onChange }: { name: string; value: string; entries: Kind[]; onChange: (value: string) => void }) {
  const chosen = entries.find((e) => e.name === value);
  return (
    <Field name={name} help={chosen?.summary ?? "Found by looking at the first rows."}>
      {(ids) => (
        <select {...ids} className="input" value={value} onChange={(e) => { onChange(e.target.value); }}>
          <option value="auto">found by looking</option>
          {entries.map((e) => (
            <option key={e.name} value={e.name} disabled={!e.available}>{e.available ? e.name : `${e.name} (${e.reason ?? "not installed"})`}</option>
          ))}
        </select>
      )}
    </Field>
  );
}

function Other({ dataset, kinds, onDone }: { dataset: Dataset; kinds: Kinds; onDone: () => void }) {
  const [reading, setReading] = useState<Reading>({ reader: dataset.reader, format: dataset.format, columns: dataset.mapping });
  const again = useReread(dataset.id);
  const tell = useTell();
  const change = (part: Partial<Reading>) => { setReading((now) => ({ ...now, ...part })); };
  const apply = () => { again.mutate(reading, { onSuccess: (d) => { tell("good", `${d.name} is now read as ${readAs(d, "format")}`); onDone(); } }); };
  return (
    <form className="stack" onSubmit={(e) => { e.preventDefault(); apply(); }}>
      <div className="grid">
        <Choice name="Reader" value={reading.reader} entries={kinds.reader ?? []} onChange={(reader) => { change({ reader }); }} />
        <Choice name="Format" value={reading.format} entries={kinds.format ?? []} onChange={(format) => { change({ format }); }} />
      </div>
      <Mapping columns={dataset.columns} value={reading.columns} onChange={(columns) => { change({ columns }); }} />
      {again.isError ? <Fault error={again.error} /> : null}
      <div className="row">
        <Button kind="primary" type="submit" busy={again.isPending}>Read it so</Button>
        <Button onClick={onDone}>Leave as it is</Button>
      </div>
    </form>
  );
}

/** The name, and whether it was found by looking or asked for. */
function How({ dataset, what }: { dataset: Dataset; what: "reader" | "format" }) {
  return <span className="row"><Tag tone="accent">{readAs(dataset, what)}</Tag><span className="small soft">{dataset[what] === "auto" ? "found by looking" : "asked for"}</span></span>;
}

function mapped({ mapping }: Dataset): [string, string][] {
  const pairs = Object.entries(mapping);
  return pairs.length === 0 ? [] : [["Columns", pairs.map(([ours, theirs]) => `${ours} from ${theirs}`).join(", ")]];
}

export function HowRead({ dataset }: { dataset: Dataset }) {
  const [open, setOpen] = useState(dataset.needs_columns);
  const kinds = useKinds();
  return (
    <Panel title="How it is read" actions={open ? null : <Button small onClick={() => { setOpen(true); }}>Read it another way</Button>}>
      <div className="stack">
        <Facts items={[["Reader", <How key="r" dataset={dataset} what="reader" />], ["Format", <How key="f" dataset={dataset} what="format" />], ["Why", dataset.explanation], ...mapped(dataset)]} />
        {dataset.needs_columns ? <p role="status"><Tag tone="warn">waits for you</Tag> No known format fits the columns {dataset.columns.join(", ")}. Say which of them plays which part.</p> : null}
        {open ? <Loaded query={kinds}>{(found) => <Other dataset={dataset} kinds={found} onDone={() => { setOpen(false); }} />}</Loaded> : null}
      </div>
    </Panel>
  );
}
