import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

import { builtFrom } from "./tools/built_from.ts";

const server = process.env.STEAD_URL ?? "http://127.0.0.1:8080";
const passed = Object.fromEntries(["/api", "/v1"].map((path) => [path, { target: server, ws: true }]));

// Built into the Python package, so that the wheel carries the pages. No request leaves this origin.
export default defineConfig({
  plugins: [react(), builtFrom()],
  build: { outDir: "../src/stead/web/static", emptyOutDir: true, target: "es2022", sourcemap: false, assetsInlineLimit: 0 },
  server: { proxy: passed },
});
