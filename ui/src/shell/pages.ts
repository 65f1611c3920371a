/** The pages in the order of the work. Each is loaded when it is first opened; adding one is a line here. `key`: after g, on the keyboard; `role`: the least that can use it. */
import { lazy } from "react";

export const pages = [
  { path: "/", name: "Home", key: "h", role: "viewer", show: lazy(() => import("../pages/home")) },
  { path: "/models", name: "Models", key: "m", role: "viewer", show: lazy(() => import("../pages/models")) },
  { path: "/datasets", name: "Datasets", key: "d", role: "viewer", show: lazy(() => import("../pages/datasets")) },
  { path: "/train", name: "Train", key: "t", role: "member", show: lazy(() => import("../pages/train")) },
  { path: "/runs", name: "Runs", key: "r", role: "viewer", show: lazy(() => import("../pages/runs")) },
  { path: "/evaluate", name: "Evaluate", key: "e", role: "viewer", show: lazy(() => import("../pages/evaluate")) },
  { path: "/playground", name: "Playground", key: "p", role: "member", show: lazy(() => import("../pages/playground")) },
  { path: "/gateway", name: "Gateway", key: "g", role: "viewer", show: lazy(() => import("../pages/gateway")) },
  { path: "/settings", name: "Settings", key: "s", role: "viewer", show: lazy(() => import("../pages/settings")) },
] as const;
