/** Train: choose what learns from what and how, see what it would need, start. */
import { useQuery } from "@tanstack/react-query";
import { useSearchParams } from "react-router";

import { get } from "../../api/http";
import { useKinds } from "../../api/nouns";
import { Loaded } from "../../kit/loaded";
import { Page } from "../../shell/page";
import { useSchema } from "./asking";
import { Editor } from "./editor";
import { DRAFT } from "./draft";
import { read, write } from "./recipe";
import "./train.css";

const FIRST = "method: sft\nadapter: lora\n";

/** The recipe to begin with: another run's, or the one this browser kept; with what another page has chosen. */
function begun(search: URLSearchParams, other: string | undefined): string {
  let text = other ?? localStorage.getItem(DRAFT) ?? FIRST;
  for (const [name, path] of [["model", "model.path"], ["data", "data.path"], ["method", "method"]] as const) {
    const value = search.get(name);
    if (value !== null && read(text).faults.length === 0) text = write(read(text), path, value);
  }
  return text;
}

export default function Train() {
  const [search] = useSearchParams();
  const from = search.get("from");
  const schema = useSchema();
  const kinds = useKinds();
  const other = useQuery({ queryKey: ["run", from, "config"], queryFn: ({ signal }) => get<{ yaml: string }>(`/api/runs/${encodeURIComponent(from ?? "")}/config`, signal), enabled: from !== null });
  const editor = (text: string | undefined) => (
    <Loaded query={schema}>
      {(found) => <Loaded query={kinds}>{(all) => <Editor key={search.toString()} schema={found} kinds={all} first={begun(search, text)} />}</Loaded>}
    </Loaded>
  );
  return (
    <Page title="Train" lead="Choose a model and the rows it learns from. The plan says what it takes before anything begins.">
      {from === null ? editor(undefined) : <Loaded query={other}>{({ yaml }) => editor(yaml)}</Loaded>}
    </Page>
  );
}
