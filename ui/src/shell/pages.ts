/** The pages in the order of the work. Each is loaded when it is first opened; adding one is a line here. */
import { lazy } from "react";

export const pages = [
  { path: "/", name: "Home", show: lazy(() => import("../pages/home")) },
  { path: "/models", name: "Models", show: lazy(() => import("../pages/models")) },
  { path: "/datasets", name: "Datasets", show: lazy(() => import("../pages/datasets")) },
  { path: "/train", name: "Train", show: lazy(() => import("../pages/train")) },
  { path: "/runs", name: "Runs", show: lazy(() => import("../pages/runs")) },
  { path: "/evaluate", name: "Evaluate", show: lazy(() => import("../pages/evaluate")) },
  { path: "/playground", name: "Playground", show: lazy(() => import("../pages/playground")) },
  { path: "/gateway", name: "Gateway", show: lazy(() => import("../pages/gateway")) },
  { path: "/settings", name: "Settings", show: lazy(() => import("../pages/settings")) },
] as const;
