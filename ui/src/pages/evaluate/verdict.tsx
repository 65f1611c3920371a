/** The result in words: a colour only repeats them. */
import type { Score, Verdict as Word } from "../../api/types";
import { Tag, type Tone } from "../../kit/parts";
import { number } from "../../kit/words";

const TONES: Record<Word, Tone> = { better: "good", worse: "bad", "no difference shown": "plain" };

export function Verdict({ word }: { word: Word }) {
  return <Tag tone={TONES[word]}>{word}</Tag>;
}

/** Every metric with its verdict, or its value where there is nothing to compare with. */
export function Verdicts({ metrics }: { metrics: Record<string, Score> }) {
  return (
    <span className="row">
      {Object.entries(metrics).map(([name, score]) => (
        <span key={name} className="row tight">
          <span className="small soft">{name}</span>
          {score.verdict === null ? <span className="num">{number(score.value)}</span> : <Verdict word={score.verdict} />}
        </span>
      ))}
    </span>
  );
}
