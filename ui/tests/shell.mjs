/** Home, the keyboard, the menu of narrow screens, Settings with its people, and what is not there. */
import { drive } from "./harness.mjs";

await drive("shell", async (page, { open, looks, check, allow }) => {
  await open("/", "Home");
  await page.getByRole("meter", { name: "Memory" }).waitFor();
  await page.getByRole("region", { name: "Recent runs" }).last().getByText("first").waitFor();

  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await looks("keyboard");
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("s");
  await page.getByRole("heading", { level: 1, name: "Settings" }).waitFor();
  await page.getByRole("button", { name: "Edit log.level", exact: true }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("log.level");
  check(await page.getByRole("row").count() === 2, "the filter leaves what was not asked for");
  await open("/", "Home");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter"); // the link that skips the navigation
  check(await page.evaluate(() => location.hash) === "#page", "the first stop of Tab is not the link to the page");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.getByRole("button", { name: "Home" }).click();
  await page.getByRole("link", { name: "Datasets" }).click();
  await page.getByRole("heading", { level: 1, name: "Datasets" }).waitFor();
  check(await page.getByRole("navigation").getByRole("link", { name: "Runs" }).count() === 0, "the menu stays open on the page that was chosen");
  await page.setViewportSize({ width: 1280, height: 900 });

  await open("/settings", "Settings");
  await page.getByRole("button", { name: "Edit log.level", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Value").selectOption("warning");
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.getByRole("row", { name: /log\.level/ }).getByText("warning").waitFor();
  await page.getByRole("row", { name: /engines\.vllm/ }).getByText("read only").waitFor();
  check(await page.getByRole("button", { name: "Edit engines.vllm" }).count() === 0, "a setting is offered that only the file can change");
  await open("/settings?tab=plugins", "Settings");
  const plugin = page.getByRole("row", { name: /hook\/shout/ });
  await plugin.getByRole("button", { name: "enable shout" }).click();
  await plugin.getByText("enabled", { exact: true }).waitFor();
  await plugin.getByRole("button", { name: "disable shout" }).click();
  await plugin.getByText("disabled", { exact: true }).waitFor();
  await open("/settings?tab=history", "Settings");
  await page.getByRole("button", { name: "Take back" }).first().click();
  await page.getByRole("dialog").getByRole("button", { name: "Take back" }).click();
  await page.getByText("The change of log.level is taken back").waitFor();
  await looks("settings-history");
  for (const tab of ["plugins", "doctor", "appearance"]) {
    await open(`/settings?tab=${tab}`, "Settings");
    await looks(`settings-${tab}`);
  }

  await open("/settings?tab=people", "Settings");
  await page.getByLabel("New user's name").fill("Vera");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByLabel("Role of Vera").selectOption("viewer");
  await page.getByText("Vera is viewer").waitFor();
  await page.getByRole("button", { name: "Link for Vera" }).click();
  await page.getByText(/\/#token=/).waitFor();
  await page.getByRole("button", { name: "Disable Vera" }).click();
  await page.getByRole("button", { name: "Enable Vera" }).waitFor();
  await page.getByLabel("New token's name").fill("laptop");
  await page.getByRole("button", { name: "Make", exact: true }).click();
  await page.getByText(/Shown this once: sk-stead-/).waitFor();
  await looks("settings-people");

  await open("/settings?tab=appearance", "Settings");
  await page.getByLabel("Dark", { exact: true }).check();
  check(await page.evaluate(() => document.documentElement.dataset.theme) === "dark", "dark was chosen, but is not shown");
  await page.getByLabel("As the system").check();

  allow(/404/); // asked for on purpose
  await page.goto("/models/no-such-model");
  await page.getByRole("alert").first().waitFor();
});
