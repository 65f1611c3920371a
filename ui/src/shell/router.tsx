/** Addresses to pages; each page also gets everything below its own address (`/runs/ID`). */
import { createBrowserRouter, useRouteError } from "react-router";

import { Empty } from "../kit/parts";
import { Fault } from "../kit/problem";
import { pages } from "./pages";
import { Shell } from "./shell";

function Broken() {
  return <Fault error={useRouteError()} again={() => { location.reload(); }} />;
}

export const router = createBrowserRouter([
  {
    element: <Shell />,
    errorElement: <Broken />,
    children: [
      ...pages.map(({ path, show: Page }) => ({ path: path === "/" ? "/" : `${path}/*`, element: <Page />, errorElement: <Broken /> })),
      { path: "*", element: <Empty title="There is no such page" /> },
    ],
  },
]);
