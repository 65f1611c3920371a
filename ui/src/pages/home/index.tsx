import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import { get } from "../../api/http";
import type { HomeView } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Panel } from "../../kit/parts";
import { usd } from "../../kit/words";
import { Page } from "../../shell/page";
import { FirstSteps, Hints } from "./first";
import { Machine } from "./machine";
import { Recent, Running } from "./runs";

const BUSY_MS = 2000;
const IDLE_MS = 8000;

export default function Home() {
  const home = useQuery({
    queryKey: ["home"],
    queryFn: ({ signal }) => get<HomeView>("/api/home", signal),
    refetchInterval: ({ state }) => ((state.data?.running.length ?? 0) > 0 || (state.data?.queue ?? 0) > 0 ? BUSY_MS : IDLE_MS),
  });
  return (
    <Page title="Home" lead="What runs now, and what to do next." actions={<Link className="button primary" to="/train">Train a model</Link>}>
      <Loaded query={home}>{(view) => <View view={view} />}</Loaded>
    </Page>
  );
}

function View({ view }: { view: HomeView }) {
  const untouched = view.running.length === 0 && view.recent.length === 0;
  return (
    <>
      {untouched ? null : <Running runs={view.running} queue={view.queue} />}
      <FirstSteps always={untouched} />
      {view.hints.length === 0 || untouched ? null : <Hints hints={view.hints} />}
      <div className="two">
        {untouched ? <Running runs={view.running} queue={view.queue} /> : <Recent runs={view.recent.filter((run) => run.state !== "running")} />}
        <div className="stack">
          <Machine machine={view.hardware} />
          <Spend today={view.spend.today_usd} month={view.spend.month_usd} />
        </div>
      </div>
    </>
  );
}

function Spend({ today, month }: { today: number; month: number }) {
  return (
    <Panel title="Spend" actions={<Link to="/gateway" className="small">details</Link>}>
      <div className="row spread">
        <div><div className="small soft">today</div><div className="figure">{usd(today)}</div></div>
        <div><div className="small soft">this month</div><div className="figure">{usd(month)}</div></div>
      </div>
    </Panel>
  );
}
