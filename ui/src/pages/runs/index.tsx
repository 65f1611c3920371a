/** Runs: the list, one run, several side by side. */
import { Route, Routes, useParams } from "react-router";

import { Compare } from "./compare";
import { RunList } from "./list";
import { RunPage } from "./run";
import "./runs.css";

function One() {
  const { id } = useParams();
  return <RunPage key={id} id={id ?? ""} />;
}

export default function Runs() {
  return (
    <Routes>
      <Route index element={<RunList />} />
      <Route path="compare" element={<Compare />} />
      <Route path=":id" element={<One />} />
    </Routes>
  );
}
