/** Evaluate: measure one model, then the same beside itself; the verdict in words, the answers side by side, the report. */
import { drive } from "./harness.mjs";

const ROWS = Array.from({ length: 25 }, (_, i) => JSON.stringify({ prompt: `Say ${i}`, completion: String(i) })).join("\n");

async function ticked(page, group, name) {
  await page.getByRole("group", { name: group }).getByRole("checkbox", { name }).first().check();
}

await drive("evaluate", async (page, { open, settled, looks, check }) => {
  await page.goto("/datasets");
  await page.getByTestId("file").setInputFiles({ name: "say.jsonl", mimeType: "application/octet-stream", buffer: Buffer.from(ROWS) });
  await page.getByRole("heading", { level: 1, name: "say" }).waitFor();

  await open("/evaluate", "Evaluate");
  await page.getByText("Choose a model, a data set, a metric first.").waitFor();
  const model = page.getByRole("group", { name: "Models" }).getByRole("checkbox").first();
  await model.check();
  await ticked(page, "Data sets", /^say /);
  await ticked(page, "Metrics", /^exact_match /);
  await ticked(page, "Metrics", /^f1 /);
  const against = page.getByLabel("Compared with");
  await against.selectOption({ index: 2 });
  await looks("evaluate-form");
  await page.getByRole("button", { name: "Evaluate" }).click();
  await page.getByText("The evaluation is queued").waitFor();
  await page.getByText("no difference shown").first().waitFor({ timeout: 180_000 });
  await looks("evaluate");

  await page.getByRole("region", { name: "Evaluations" }).getByRole("link").first().click();
  await page.getByRole("heading", { name: "Answers" }).waitFor();
  await settled();
  check(await page.getByRole("region", { name: "Metrics" }).getByRole("row").count() === 3, "not one line per metric");
  await page.getByText("Answers 1 to 20 of 25").first().waitFor();
  await looks("evaluation");
  await page.getByLabel("Show").selectOption("changed");
  await page.getByText("No answer is like that").waitFor();
  for (const name of ["HTML", "JSON", "Markdown"]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name, exact: true }).click()]);
    check(await download.failure() === null, `the report as ${name} does not arrive`);
  }
});
