/** Playground: ask, edit into a branch, compare, export. Gateway: every tab, a key made and shown once. */
import { drive } from "./harness.mjs";

await drive("chat", async (page, { open, looks, check, settled }) => {
  await open("/playground", "Playground");
  await page.getByLabel("Longest answer").fill("8");
  await page.getByLabel("Message", { exact: true }).fill("Say **hi** <b>now</b>");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("button", { name: "Regenerate" }).waitFor();
  check(/\/playground\/\w+/.test(page.url()), "the chat has no address");
  await page.getByRole("button", { name: "Regenerate" }).click();
  await page.getByText("2 of 2").waitFor();
  await page.getByRole("button", { name: "Compare with another model" }).click();
  await page.getByRole("button", { name: "Export" }).click();
  await page.getByRole("tab", { name: "Training rows" }).click();
  await page.getByRole("button", { name: "Close" }).click();
  await looks("playground-talk");
  await page.reload();
  await page.getByText("2 of 2").waitFor();
  for (const tab of ["Strategies", "Keys", "Spend", "Requests", "Providers"]) {
    await open(`/gateway/${tab.toLowerCase()}`, "Gateway");
    await looks(`gateway-${tab.toLowerCase()}`);
  }
  await open("/gateway/strategies/hybrid_fallback", "Gateway");
  await page.getByRole("button", { name: "Who would answer?" }).click();
  await settled();
  await looks("gateway-strategy");
});
