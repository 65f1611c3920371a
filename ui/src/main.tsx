import { QueryClientProvider } from "@tanstack/react-query";
import { Tooltip } from "radix-ui";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RouterProvider } from "react-router";

import { queries } from "./api/queries";
import { Toasts } from "./kit/toast";
import { router } from "./shell/router";
import { startTheme } from "./shell/theme";
import "./kit/tokens.css";
import "./kit/base.css";
import "./kit/kit.css";
import "./shell/shell.css";

startTheme();
const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <Tooltip.Provider delayDuration={200}>
        <Toasts>
          <RouterProvider router={router} />
        </Toasts>
      </Tooltip.Provider>
    </QueryClientProvider>
  </StrictMode>,
);
