/** Models: fetched from a hub with its progress, checked, given an alias, deleted once it is said what depends on it. */
import { drive } from "./harness.mjs";

await drive("models", async (page, { open, looks, check, allow, facts }) => {
  allow(/404/); // asked for on purpose
  await open("/models?tab=add", "Models");
  await page.getByLabel("Folder, GGUF file or address").fill("/no/such/folder");
  await page.getByRole("button", { name: "Add the model" }).click();
  await page.getByRole("alert").getByText(/no such folder/).waitFor(); // at once, not by a job
  await open("/models?tab=hub", "Models");
  await page.getByLabel("Words of the name").fill("tiny");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByRole("button", { name: "Download makers/tiny" }).click();
  await page.getByRole("progressbar", { name: "fetched" }).waitFor();
  await looks("models-hub");
  await page.getByRole("tab", { name: "Installed" }).click();
  await page.getByRole("link", { name: "makers/tiny", exact: true }).click({ timeout: 60_000 });
  await page.getByRole("heading", { level: 1, name: "makers/tiny" }).waitFor();
  await page.getByRole("heading", { name: "A tiny model" }).waitFor(); // its card, as Markdown
  check(!(await page.locator("main").innerText()).includes("# A tiny"), "the card's marks are shown instead of meant");
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText(/files are as they were/).waitFor();

  await page.getByLabel("Alias").fill("production");
  await page.getByRole("button", { name: "Point it there" }).click();
  await page.getByRole("button", { name: "Remove the alias production" }).waitFor();
  await looks("models-one");
  await page.getByRole("button", { name: "Remove the alias production" }).click();
  await page.getByRole("button", { name: "Remove the alias production" }).waitFor({ state: "detached" });

  await open(`/models/${facts.model}`, facts.model);
  await page.getByRole("button", { name: "Delete" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(facts.run).waitFor();
  check(await dialog.getByRole("button", { name: "Delete" }).isDisabled(), "what is used can be deleted without a word");
  await looks("models-delete");
  await page.keyboard.press("Escape");

  await open("/models/first", "first"); // what the run "first" made
  await page.getByRole("region", { name: "Lineage" }).getByText(`made from ${facts.model} with sums.jsonl`).waitFor();
  await page.getByRole("button", { name: "Publish version 1" }).click();
  const order = page.getByRole("dialog");
  check(await order.getByRole("button", { name: "Publish" }).isDisabled(), "it can be published without saying where");
  await order.getByLabel("Repository").fill("me/sums");
  await order.getByRole("button", { name: "Show what would be sent" }).click();
  await order.getByText(/would be sent to me\/sums, private. Nothing has left this machine/).waitFor({ timeout: 60_000 });
  await looks("models-publish");
  check(await order.getByRole("button", { name: "Publish", exact: true }).isEnabled(), "with a token and a name it cannot be published");
  await order.getByRole("button", { name: "Publish", exact: true }).click();
  await order.getByText(/are published at me\/sums; what arrived is the same/).waitFor({ timeout: 60_000 });
  await open("/models/makers%2Ftiny", "makers/tiny");
  await page.getByRole("button", { name: "Delete" }).click();
  await dialog.getByText("Nothing depends on it.").waitFor();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { level: 1, name: "Models" }).waitFor();
  await page.getByRole("link", { name: "makers/tiny", exact: true }).waitFor({ state: "detached" });
  await open("/models?tab=catalogue", "Models");
  await page.getByRole("button", { name: "Download Qwen/Qwen2.5-0.5B-Instruct" }).waitFor(); // to begin with
  for (const tab of ["catalogue", "add"]) {
    await open(`/models?tab=${tab}`, "Models");
    await looks(`models-${tab}`);
  }
});
