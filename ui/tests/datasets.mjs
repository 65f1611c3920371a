/** Datasets: bring in a file, see what was left out, its tokens and its mask, read it another way, split it, delete it. */
import { drive } from "./harness.mjs";

const GOOD = Array.from({ length: 30 }, (_, i) => JSON.stringify({ messages: [{ role: "user", content: `What is ${i} plus 1?` }, { role: "assistant", content: String(i + 1) }] }));
const ROWS = [...GOOD, GOOD[0], '{"messages": [ broken'].join("\n");
const ODD = ["frage,antwort", ...Array.from({ length: 9 }, (_, i) => `was ist ${i}?,das ist ${i}`)].join("\n");

/** As a hand drags a file onto the page. */
async function dropped(page, name, text) {
  await page.goto("/datasets");
  const data = await page.evaluateHandle(([n, t]) => { const all = new DataTransfer(); all.items.add(new File([t], n)); return all; }, [name, text]);
  const place = page.locator(".drop");
  await place.dispatchEvent("dragover", { dataTransfer: data });
  await page.locator(".drop.over").waitFor();
  await place.dispatchEvent("drop", { dataTransfer: data });
}

async function bring(page, name, text) {
  await page.goto("/datasets");
  await page.getByTestId("file").setInputFiles({ name, mimeType: "application/octet-stream", buffer: Buffer.from(text) });
}

async function removed(page, name) {
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { level: 1, name: "Datasets" }).waitFor();
  await page.getByRole("region", { name: "Data sets" }).getByRole("link", { name, exact: true }).waitFor({ state: "detached" });
}

await drive("datasets", async (page, { open, settled, looks, check }) => {
  await dropped(page, "sums.jsonl", ROWS);
  await page.getByRole("heading", { level: 1, name: "sums" }).waitFor();
  check(/30 rows .* messages from jsonl/.test(await page.locator("main header").first().innerText()), "the page does not say how the rows are read");
  await page.getByRole("region", { name: "Rows left out" }).getByRole("cell", { name: "sums.jsonl:32" }).waitFor();
  await looks("dataset");
  await page.getByRole("button", { name: "Read it another way" }).click();
  await page.getByLabel("Format").selectOption("messages");
  await looks("dataset-reading");
  await page.getByRole("button", { name: "Read it so" }).click();
  await page.getByText("asked for", { exact: true }).waitFor();

  await page.getByRole("tab", { name: "Rows" }).click();
  await page.getByRole("button", { name: "Next" }).first().click();
  await page.getByText("Rows 21 to 32 of 32").first().waitFor();
  await looks("dataset-rows");

  await page.getByRole("tab", { name: "Tokens" }).click();
  await page.getByText("Longest row").last().waitFor();
  await settled();
  check(await page.locator(".histogram .bar").count() > 0, "no histogram of the tokens is drawn");
  await looks("dataset-tokens");

  await page.getByRole("tab", { name: "Mask" }).click();
  await page.getByLabel("Next row").click();
  await page.getByRole("heading", { name: "Row 1", exact: true }).waitFor();
  const trained = (await page.locator(".tokens mark").allInnerTexts()).join("");
  check(trained.includes("2") && !trained.includes("What"), `not just the answer is marked as trained: ${trained}`);
  await looks("dataset-mask");
  await page.reload();
  await page.getByRole("heading", { name: "Row 1", exact: true }).waitFor();

  await page.getByRole("tab", { name: "Duplicates" }).click();
  await page.getByText("1 of 31 rows repeat another").waitFor();
  await page.getByRole("cell", { name: /What is 0 plus 1\?/ }).waitFor();
  await looks("dataset-duplicates");

  await page.getByRole("tab", { name: "Split" }).click();
  await page.getByLabel("Training").fill("70");
  await page.getByText("The parts are 90 % together").waitFor();
  await page.getByLabel("Evaluation").fill("20");
  await page.getByRole("button", { name: "Split" }).click();
  await page.getByText("The parts were made").waitFor();
  await looks("dataset-split");
  await page.getByRole("link", { name: "sums-train" }).click();
  await page.getByRole("heading", { level: 1, name: "sums-train" }).waitFor();

  await bring(page, "odd.csv", ODD);
  await page.getByText("waits for you").waitFor(); // nobody knows these columns: it is asked, not guessed
  await page.getByRole("button", { name: "Add a column" }).click();
  await page.getByRole("button", { name: "Add a column" }).click();
  for (const [i, [part, column]] of [["question", "frage"], ["answer", "antwort"]].entries()) {
    await page.getByLabel("Part of the format").nth(i).fill(part);
    await page.getByLabel("Column of the file").nth(i).fill(column);
  }
  await looks("dataset-odd");
  await page.getByRole("button", { name: "Read it so" }).click();
  await page.getByText("9 rows · 202 B · qa from csv").waitFor(); // the columns that were told are read

  await open("/datasets", "Datasets");
  await looks("datasets");
  await page.getByRole("link", { name: "sums-train", exact: true }).first().click();
  await page.getByRole("heading", { level: 1, name: "sums-train" }).waitFor();
  await removed(page, "sums-train");
});
