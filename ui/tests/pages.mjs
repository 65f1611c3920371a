/** Every page opens in light, dark and at phone width, without an error, with its own heading. */
import { drive } from "./harness.mjs";

const PAGES = ["Home", "Models", "Datasets", "Train", "Runs", "Evaluate", "Playground", "Gateway", "Settings"];

await drive("pages", async (page, { open, looks, check }) => {
  for (const name of PAGES) {
    await open(name === "Home" ? "/" : `/${name.toLowerCase()}`, name);
    check((await page.title()).startsWith(name), `the window's title of ${name} is ${await page.title()}`);
    await looks(`page-${name.toLowerCase()}`);
  }
  await page.goto("/no-such-page");
  await page.getByText("There is no such page").waitFor();
});
