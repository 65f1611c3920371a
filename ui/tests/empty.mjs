/** An empty home leads from the first model to the first answer; every page says what is not there yet. */
import { drive } from "./harness.mjs";

const PAGES = ["Models", "Datasets", "Train", "Runs", "Evaluate", "Playground", "Gateway"];

await drive("empty", async (page, { open, looks, check }) => {
  await open("/", "Home");
  const steps = page.locator(".steps a");
  check(await steps.count() === 5, `the first steps are ${await steps.count()}, not 5`);
  await looks("empty-home");
  await steps.first().click();
  await page.getByRole("heading", { level: 1, name: "Models" }).waitFor();
  for (const name of PAGES) {
    await open(`/${name.toLowerCase()}`, name);
    await looks(`empty-${name.toLowerCase()}`);
  }
});
