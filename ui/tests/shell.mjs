/** Home, Models and Settings: what each is for, done by keyboard and pointer. */
import { drive } from "./harness.mjs";

await drive("shell", async (page, { open, looks, check, allow, facts }) => {
  await open("/", "Home");
  await page.getByRole("meter", { name: "Memory" }).waitFor();
  await page.getByRole("region", { name: "Recent runs" }).last().getByText("first").waitFor();

  await open("/models", "Models");
  await page.getByRole("link", { name: facts.model, exact: true }).click();
  await page.getByRole("heading", { level: 1, name: facts.model }).waitFor();
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText(/files are as they were/).waitFor();
  await looks("models-one");
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByText(`Delete ${facts.model}?`).waitFor();
  await looks("models-delete");
  await page.keyboard.press("Escape");
  for (const tab of ["hub", "catalogue", "add"]) {
    await open(`/models?tab=${tab}`, "Models");
    await looks(`models-${tab}`);
  }

  await open("/settings", "Settings");
  await page.getByRole("button", { name: "Edit log.level", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Value").selectOption("warning");
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.getByRole("row", { name: /log\.level/ }).getByText("warning").waitFor();
  await open("/settings?tab=history", "Settings");
  await page.getByRole("button", { name: "Take back" }).first().click();
  await page.getByRole("dialog").getByRole("button", { name: "Take back" }).click();
  await page.getByText("The change of log.level is taken back").waitFor();
  await looks("settings-history");
  for (const tab of ["plugins", "doctor", "appearance", "people"]) {
    await open(`/settings?tab=${tab}`, "Settings");
    await looks(`settings-${tab}`);
  }

  await open("/settings?tab=appearance", "Settings");
  await page.getByLabel("Dark", { exact: true }).check();
  check(await page.evaluate(() => document.documentElement.dataset.theme) === "dark", "dark was chosen, but is not shown");
  await page.getByLabel("As the system").check();

  allow(/404/); // asked for on purpose
  await page.goto("/models/no-such-model");
  await page.getByRole("alert").first().waitFor();
});
