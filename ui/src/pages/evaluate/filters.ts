/** Which answers to look at. A row is judged by one metric; 1 is the best score of those that go up. */
import type { AnswerRow } from "../../api/types";

export interface Filter {
  id: string;
  name: string;
  holds: (row: AnswerRow) => boolean;
}

/** The gain of the tuned model's score over the base's, in the direction that is better. */
function gain(row: AnswerRow, metric: string, up: boolean): number {
  const tuned = row.scores[metric] ?? 0;
  const base = row.base_scores?.[metric] ?? tuned;
  return up ? tuned - base : base - tuned;
}

export function filters(metric: string, up: boolean, compared: boolean): Filter[] {
  const all: Filter[] = [{ id: "all", name: "all answers", holds: () => true }];
  if (compared) {
    all.push(
      { id: "changed", name: "only changed", holds: (r) => r.answer !== r.base_answer },
      { id: "better", name: "only better than base", holds: (r) => gain(r, metric, up) > 0 },
      { id: "worse", name: "only worse than base", holds: (r) => gain(r, metric, up) < 0 },
    );
  }
  if (up) all.push({ id: "wrong", name: "only wrong", holds: (r) => (r.scores[metric] ?? 0) < 1 });
  return all;
}
