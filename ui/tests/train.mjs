/** From the form to a run that was started, watched over a reload, paused, resumed and cancelled; then two runs compared. */
import { drive } from "./harness.mjs";

await drive("train", async (page, { open, looks, check, settled, allow, facts }) => {
  await open(`/train?model=${encodeURIComponent(facts.model)}&data=${encodeURIComponent(facts.dataset)}`, "Train");
  const yaml = page.locator(".yaml textarea");
  await page.getByText("Steps", { exact: true }).first().waitFor();
  await page.getByLabel("Passes over the data").fill("400");
  check((await yaml.inputValue()).includes("epochs: 400"), "the form writes into the YAML");
  await yaml.fill(`${await yaml.inputValue()}name: by hand\n`);
  check(await page.getByLabel("Name of the run").inputValue() === "by hand", "the YAML fills the form");

  allow(/\/api\/plan/); // what follows is refused
  const good = await yaml.inputValue();
  await yaml.fill(good.replace("epochs: 400", "epochs: -1"));
  await page.locator(".marks").getByText("greater than 0").waitFor();
  check((await page.locator(".yaml .wrong").count()) === 1, "the wrong line is marked");
  await yaml.fill(good);
  await page.locator(".marks").waitFor({ state: "detached" });
  await settled();
  await looks("train");

  await page.getByRole("button", { name: "Start training" }).click();
  await page.waitForURL(/\/runs\/.+/);
  await page.locator(".curves canvas").first().waitFor({ timeout: 60_000 });
  await page.reload();
  await page.locator(".curves canvas").first().waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Resume" }).click({ timeout: 60_000 });
  await page.getByText("running", { exact: true }).first().waitFor({ timeout: 60_000 });
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByText("cancelled", { exact: true }).first().waitFor({ timeout: 60_000 });
  await settled();
  await looks("run");

  await open("/runs", "Runs");
  await looks("runs");
  await page.getByRole("checkbox").nth(0).check();
  await page.getByRole("checkbox").nth(1).check();
  await page.getByRole("link", { name: "Compare 2 runs" }).click();
  await page.getByRole("heading", { name: "Differences" }).waitFor();
  await page.getByText("trainer.epochs").waitFor();
  await settled();
  await looks("compare");
});
