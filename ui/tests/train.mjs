/** From the form to a run that was started, watched over a reload and a restart of the server, paused, resumed,
 * cancelled; another forked; two compared. */
import { drive } from "./harness.mjs";

await drive("train", async (page, { open, looks, check, settled, allow, restart, facts }) => {
  await open(`/train?model=${encodeURIComponent(facts.model)}&data=${encodeURIComponent(facts.dataset)}`, "Train");
  const yaml = page.locator(".yaml textarea");
  await yaml.fill(`# kept\n${await yaml.inputValue()}`);
  await page.getByText("Steps", { exact: true }).first().waitFor();
  await page.getByLabel("Passes over the data").fill("2000");
  check((await yaml.inputValue()).includes("epochs: 2000"), "the form writes into the YAML");
  check((await yaml.inputValue()).startsWith("# kept"), "a comment is lost when the form writes");
  await yaml.fill(`${await yaml.inputValue()}name: by hand\n`);
  check(await page.getByLabel("Name of the run").inputValue() === "by hand", "the YAML fills the form");

  allow(/\/api\/plan/); // what follows is refused
  const good = await yaml.inputValue();
  await yaml.fill(good.replace("epochs: 2000", "epochs: -1"));
  await page.locator(".marks").getByText("greater than 0").waitFor();
  check((await page.locator(".yaml .wrong").count()) === 1, "the wrong line is marked");
  await yaml.fill(good);
  await page.locator(".marks").waitFor({ state: "detached" });
  await settled();

  for (const name of ["Method", "Adapter"]) { // each can be chosen, and brings its own settings
    const choice = page.getByRole("group", { name, exact: true });
    await choice.getByRole("button", { name: /Show all/ }).click();
    const before = await choice.getByRole("radio", { checked: true }).locator("..").locator("strong").innerText();
    for (const one of await choice.locator(".pick:not(.off)").all()) {
      await one.getByRole("radio").check();
      check((await yaml.inputValue()).includes(`${name.toLowerCase()}: ${await one.locator("strong").innerText()}`), `choosing a ${name} is not written`);
    }
    if (name === "Method") {
      await choice.locator(".pick").filter({ hasText: "dpo" }).getByRole("radio").check();
      await page.getByRole("button", { name: "Use sft" }).click(); // these rows are no pairs, and the page says so
    }
    await choice.locator(".pick", { has: page.getByText(before, { exact: true }) }).getByRole("radio").check();
    await choice.getByRole("button", { name: "Show fewer" }).click();
  }
  await yaml.fill(`${good}model: [`);
  await page.getByText("The form waits until the YAML can be read again").waitFor();
  check(await page.getByRole("button", { name: "Start training" }).isDisabled(), "what cannot be read can be started");
  await yaml.fill(good);
  await page.getByText("Steps", { exact: true }).first().waitFor();
  await settled();
  await looks("train");

  await page.getByRole("button", { name: "Start training" }).click();
  await page.waitForURL(/\/runs\/.+/);
  await page.locator(".curves canvas").first().waitFor({ timeout: 60_000 });
  await page.reload();
  await page.locator(".curves canvas").first().waitFor();

  allow("net::ERR"); // the page asks while nobody listens
  const isPast = (before) => Number((/step ([\d,]+)/.exec(document.querySelector("[role=progressbar]")?.ariaValueText ?? "")?.[1] ?? "0").replaceAll(",", "")) > before;
  const told = await page.getByRole("progressbar", { name: "progress" }).getAttribute("aria-valuetext");
  const before = Number(/step ([\d,]+)/.exec(told)[1].replaceAll(",", ""));
  await restart();
  await page.waitForFunction(isPast, before, { timeout: 60_000 });
  await page.getByText("running", { exact: true }).first().waitFor();

  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Resume" }).click({ timeout: 60_000 });
  await page.getByText("running", { exact: true }).first().waitFor({ timeout: 60_000 });
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByText("cancelled", { exact: true }).first().waitFor({ timeout: 60_000 });
  await page.getByLabel("Draw another run over this one").selectOption({ index: 1 });
  await page.reload();
  await page.getByRole("button", { name: /^remove / }).waitFor(); // what was laid over is there again
  await settled();
  await looks("run");
  await page.getByRole("tab", { name: "Checkpoints" }).click();
  await page.getByRole("region", { name: "Checkpoints" }).getByRole("row").nth(1).waitFor();
  for (const tab of ["Log", "Samples", "Artifacts", "Settings", "About"]) {
    await page.getByRole("tab", { name: tab }).click();
    await settled();
  }

  await open(`/runs/${facts.run}`, "first");
  await page.getByRole("button", { name: "Fork" }).click();
  const fork = page.getByRole("dialog");
  await fork.getByLabel("New value").fill("0.02");
  await looks("run-fork");
  await fork.getByRole("button", { name: "Start the fork" }).click();
  await page.getByRole("heading", { level: 1, name: "first (fork)" }).waitFor();
  await page.getByText("succeeded", { exact: true }).first().waitFor({ timeout: 60_000 });
  await page.getByRole("tab", { name: "About" }).click();
  await page.getByRole("link", { name: facts.run }).waitFor();

  await open("/runs", "Runs");
  await looks("runs");
  await page.getByRole("checkbox", { name: "compare first", exact: true }).check();
  await page.getByRole("checkbox", { name: "compare by hand" }).first().check();
  await page.getByRole("link", { name: "Compare 2 runs" }).click();
  await page.getByRole("heading", { name: "Differences" }).waitFor();
  await page.getByText("trainer.epochs").waitFor();
  await settled();
  await looks("compare");
});
