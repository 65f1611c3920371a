import { Route, Routes } from "react-router";

import { All } from "./all";
import { One } from "./one";
import "./datasets.css";

export default function Datasets() {
  return (
    <Routes>
      <Route index element={<All />} />
      <Route path=":id" element={<One />} />
    </Routes>
  );
}
