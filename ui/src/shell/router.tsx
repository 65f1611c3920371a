/** Addresses to pages; each page also gets everything below its own address (`/runs/ID`). */
import type { ReactNode } from "react";
import { createBrowserRouter, useRouteError } from "react-router";

import type { Role } from "../api/types";
import { Empty } from "../kit/parts";
import { Fault } from "../kit/problem";
import { useMay } from "./me";
import { Page } from "./page";
import { pages } from "./pages";
import { Shell } from "./shell";

function Broken() {
  return <Fault error={useRouteError()} again={() => { location.reload(); }} />;
}

/** A page for those whose role can use it; others are told what they lack. */
function For({ role, name, children }: { role: Role; name: string; children: ReactNode }) {
  if (useMay(role)) return children;
  return (
    <Page title={name}>
      <Empty title={`${name} is for the role ${role}`}>You may look at everything else. An admin gives roles under Settings, Users and tokens.</Empty>
    </Page>
  );
}

export const router = createBrowserRouter([
  {
    element: <Shell />,
    errorElement: <Broken />,
    children: [
      ...pages.map(({ path, name, role, show: Page }) => ({ path: path === "/" ? "/" : `${path}/*`, element: <For role={role} name={name}><Page /></For>, errorElement: <Broken /> })),
      { path: "*", element: <Empty title="There is no such page" /> },
    ],
  },
]);
