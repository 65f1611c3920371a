/** How many tokens the rows are for one model's tokenizer, how they spread, and which rows drop out and why. */
import type { ReactNode } from "react";

import type { DataStatistics } from "../../api/types";
import { Histogram } from "../../kit/histogram";
import { Loaded } from "../../kit/loaded";
import { Empty, Facts, Meter, Panel } from "../../kit/parts";
import { Table } from "../../kit/table";
import { count } from "../../kit/words";
import { useAddressNumber } from "../../shell/address";
import { Longest } from "./longest";
import { useStatistics } from "./queries";
import { WithTokenizer } from "./tokenizer";

function counted({ rows, encoded }: DataStatistics): string {
  return encoded < rows ? `${count(rows)}; tokens of the first ${count(encoded)}` : count(rows);
}

function Found({ statistics: s }: { statistics: DataStatistics }) {
  const share = s.tokens === 0 ? 0 : s.label_tokens / s.tokens;
  return (
    <>
      <div className="two">
        <Panel title="Tokens per row">
          <Histogram label="Rows by their length" unit="tokens" bins={s.histogram} />
        </Panel>
        <Panel title="In numbers">
          <div className="stack">
            <Facts
              items={[
                ["Rows", counted(s)], ["Tokens", count(s.tokens)], ["Half of the rows have at most", `${count(s.lengths.p50)} tokens`],
                ["90 % at most", `${count(s.lengths.p90)} tokens`], ["99 % at most", `${count(s.lengths.p99)} tokens`], ["Longest row", `${count(s.lengths.max)} tokens`],
              ]}
            />
            <Meter label="Trained tokens" share={share} tone="accent" text={`${count(s.label_tokens)} of ${count(s.tokens)} (${(100 * share).toFixed(0)} %)`} />
          </div>
        </Panel>
      </div>
      <Panel title="Left out">
        <Table
          label="Rows left out" rows={s.dropped} id={(d) => d.reason} empty={<Empty title="No row is left out" />}
          columns={[{ name: "Why", show: (d) => d.reason }, { name: "Rows", number: true, show: (d) => count(d.count) }]}
        />
      </Panel>
    </>
  );
}

function Asked({ id, model, choice }: { id: string; model: string; choice: ReactNode }) {
  const [longest, setLongest] = useAddressNumber("max_length");
  const statistics = useStatistics(id, model, longest);
  return (
    <div className="stack">
      <div className="grid">
        {choice}
        <Longest value={longest} onChange={setLongest} />
      </div>
      <Loaded query={statistics} label="counting the tokens">{(found) => <Found statistics={found} />}</Loaded>
    </div>
  );
}

export function Statistics({ id }: { id: string }) {
  return <WithTokenizer>{(model, choice) => <Asked id={id} model={model} choice={choice} />}</WithTokenizer>;
}
