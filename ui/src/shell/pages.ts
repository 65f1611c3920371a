/** The pages in the order of the work. Each is loaded when it is first opened; adding one is a line here. `key`: after g, on the keyboard. */
import { lazy } from "react";

export const pages = [
  { path: "/", name: "Home", key: "h", show: lazy(() => import("../pages/home")) },
  { path: "/models", name: "Models", key: "m", show: lazy(() => import("../pages/models")) },
  { path: "/datasets", name: "Datasets", key: "d", show: lazy(() => import("../pages/datasets")) },
  { path: "/train", name: "Train", key: "t", show: lazy(() => import("../pages/train")) },
  { path: "/runs", name: "Runs", key: "r", show: lazy(() => import("../pages/runs")) },
  { path: "/evaluate", name: "Evaluate", key: "e", show: lazy(() => import("../pages/evaluate")) },
  { path: "/playground", name: "Playground", key: "p", show: lazy(() => import("../pages/playground")) },
  { path: "/gateway", name: "Gateway", key: "g", show: lazy(() => import("../pages/gateway")) },
  { path: "/settings", name: "Settings", key: "s", show: lazy(() => import("../pages/settings")) },
] as const;
