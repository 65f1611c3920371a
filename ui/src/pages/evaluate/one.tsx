/** One evaluation: the result in a sentence, every metric with its interval, and the answers side by side. */
import { useParams } from "react-router";

import { useDatasets, useJob } from "../../api/nouns";
import type { Evaluation, EvaluationSummary } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Panel } from "../../kit/parts";
import { Progress } from "../../kit/state";
import { ago, count, seconds } from "../../kit/words";
import { Page } from "../../shell/page";
import { Answers } from "./answers";
import { dataName, modelName } from "./names";
import { path, useEvaluation } from "./queries";
import { ScoreTable } from "./scores";
import { Verdict } from "./verdict";
import { Failed } from "./working";

const FORMATS = [["html", "HTML"], ["json", "JSON"], ["md", "Markdown"]] as const;

function Downloads({ id }: { id: string }) {
  return (
    <>
      <span className="small soft">Report</span>
      {FORMATS.map(([format, name]) => <a key={format} className="button small" href={`${path(id)}/download?format=${format}`} download>{name}</a>)}
    </>
  );
}

function Sentence({ summary }: { summary: EvaluationSummary }) {
  const { model, against, n, metrics } = summary;
  if (against === null) return <p><strong>{modelName(model)}</strong> answered {count(n)} rows.</p>;
  return (
    <div className="stack tight">
      <p><strong>{modelName(model)}</strong> against <strong>{modelName(against)}</strong> on the same {count(n)} rows:</p>
      <ul className="plain-list row">
        {Object.entries(metrics).map(([name, s]) => <li key={name} className="row">{name} {s.verdict === null ? null : <Verdict word={s.verdict} />}</li>)}
      </ul>
    </div>
  );
}

function Waiting({ evaluation }: { evaluation: Evaluation }) {
  const job = useJob(evaluation.job);
  if (evaluation.job === null) return <Empty title="There is no result"><p>The evaluation ended without a report.</p></Empty>;
  const error = job.data?.error ?? null;
  if (error !== null) return <Failed error={error} />;
  return <Panel title="At work"><Progress label="Rows answered" share={job.data?.progress ?? null} /></Panel>;
}

function Result({ evaluation, summary }: { evaluation: Evaluation; summary: EvaluationSummary }) {
  return (
    <>
      <Panel title="Result">
        <div className="stack">
          <Sentence summary={summary} />
          <ScoreTable metrics={summary.metrics} compared={summary.against !== null} />
        </div>
      </Panel>
      <Answers id={evaluation.id} summary={summary} />
    </>
  );
}

function Shown({ evaluation }: { evaluation: Evaluation }) {
  const { summary } = evaluation;
  const data = dataName(evaluation.data, useDatasets().data?.items);
  const took = summary === null ? "" : ` · took ${seconds(summary.seconds)}`;
  return (
    <Page title={evaluation.title === "" ? evaluation.id : evaluation.title} lead={`on ${data} · ${ago(evaluation.created)}${took}`} actions={summary === null ? null : <Downloads id={evaluation.id} />}>
      {summary === null ? <Waiting evaluation={evaluation} /> : <Result evaluation={evaluation} summary={summary} />}
    </Page>
  );
}

export function One() {
  const { id = "" } = useParams();
  const evaluation = useEvaluation(id);
  return <Loaded query={evaluation} label="asking for the evaluation">{(found) => <Shown evaluation={found} />}</Loaded>;
}
