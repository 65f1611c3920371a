/** One row: what was asked, what was hoped for, and what each model said. */
import { useMemo, type ReactNode } from "react";

import type { AnswerRow, EvaluationSummary, Scores } from "../../api/types";
import { Tag } from "../../kit/parts";
import { number } from "../../kit/words";
import { differences, type Piece } from "./differences";
import { modelName } from "./names";

function Marks({ scores }: { scores: Scores | null }) {
  return <>{Object.entries(scores ?? {}).map(([name, score]) => <Tag key={name}>{name} {score === null ? "not finite" : number(score, 3)}</Tag>)}</>;
}

function Plain({ text }: { text: string }) {
  return text.trim() === "" ? <em className="soft">{text === "" ? "nothing" : "only white space"}</em> : text;
}

function Pieces({ pieces, as: Changed }: { pieces: Piece[]; as: "ins" | "del" }) {
  return <>{pieces.map((p, i) => (p.own ? <Changed key={i}>{p.text}</Changed> : <span key={i}>{p.text}</span>))}</>;
}

function Said({ name, scores, children }: { name: string; scores: Scores | null; children: ReactNode }) {
  return (
    <section className="stack tight">
      <div className="row"><h3 className="small wrap">{name}</h3><Marks scores={scores} /></div>
      <div className="said">{children}</div>
    </section>
  );
}

function isMarked(marked: boolean, text: string): boolean {
  return marked && text.trim() !== "";
}

function Pair({ row, base, marked, summary }: { row: AnswerRow; base: string; marked: boolean; summary: EvaluationSummary }) {
  const [left, right] = useMemo(() => differences(base, row.answer), [base, row.answer]);
  return (
    <div className="sides">
      <Said name={`base: ${modelName(summary.against ?? "")}`} scores={row.base_scores}>{isMarked(marked, base) ? <Pieces pieces={left} as="del" /> : <Plain text={base} />}</Said>
      <Said name={`tuned: ${modelName(summary.model)}`} scores={row.scores}>{isMarked(marked, row.answer) ? <Pieces pieces={right} as="ins" /> : <Plain text={row.answer} />}</Said>
    </div>
  );
}

export function Answer({ row, marked, summary }: { row: AnswerRow; marked: boolean; summary: EvaluationSummary }) {
  const base = row.base_answer;
  const same = base === null ? null : <Tag tone={base === row.answer ? "plain" : "info"}>{base === row.answer ? "same answer" : "changed"}</Tag>;
  return (
    <li className="answer stack tight">
      <div className="row spread small soft"><span className="mono wrap">{row.where}</span>{same}</div>
      <div className="sides">
        <Said name="asked" scores={null}>{row.prompt}</Said>
        {row.reference === "" ? null : <Said name="wanted" scores={null}>{row.reference}</Said>}
      </div>
      {base === null ? <Said name={modelName(summary.model)} scores={row.scores}><Plain text={row.answer} /></Said> : <Pair row={row} base={base} marked={marked} summary={summary} />}
    </li>
  );
}
