import { Route, Routes } from "react-router";

import { All } from "./all";
import { One } from "./one";
import "./evaluate.css";

export default function Evaluate() {
  return (
    <Routes>
      <Route index element={<All />} />
      <Route path=":id" element={<One />} />
    </Routes>
  );
}
