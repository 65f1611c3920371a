/** Playground: ask, stop, edit into a branch, compare three models, call a tool, show a picture, run the exported code. */
import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";

import { drive } from "./harness.mjs";

const DOT = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const TOOLS = JSON.stringify([{ type: "function", function: { name: "look_up", description: "Looks a word up.", parameters: { type: "object", properties: { text: { type: "string" } } } } }]);

/** The exported code as somebody would paste it; returns what it says. */
async function pasted(tab, code) {
  const environment = { ...process.env, STEAD_API_KEY: process.env.STEAD_TOKEN };
  const { stdout } = await promisify(execFile)(tab === "curl" ? "sh" : process.env.PYTHON, ["-c", code], { env: environment, timeout: 60_000 });
  return stdout;
}

await drive("playground", async (page, { open, looks, check, settled, facts }) => {
  const say = async (text) => { await page.getByLabel("Message", { exact: true }).fill(text); await page.getByRole("button", { name: "Send" }).click(); };
  const answers = page.getByRole("article", { name: "Answer" });
  await open("/playground?model=small_cloud", "Playground");
  check(await page.getByLabel("Model", { exact: true }).inputValue() === "small_cloud", "the model in the address is not chosen");
  await say("count for me");
  await answers.getByText("count0").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await answers.getByText("stopped", { exact: true }).waitFor();
  check(/\/playground\/\w+/.test(page.url()), "the chat has no address");

  await page.getByLabel("Longest answer").fill("8");
  await page.getByRole("article", { name: "You" }).getByRole("button", { name: "Edit" }).click();
  await page.getByRole("article", { name: "You" }).getByLabel("Message").fill("Say **hi** <b>now</b>");
  await page.getByRole("button", { name: "Ask this instead" }).click();
  await answers.getByText("gpt-4o-mini").waitFor();
  await page.getByText("2 of 2").waitFor();
  await answers.last().getByText(/\d tokens in, 8 out .* tokens\/s .* \$0\.0000/).waitFor();
  await page.getByRole("button", { name: "Branch before" }).click();
  await page.getByRole("article", { name: "You" }).getByText("count for me").waitFor();
  await page.getByRole("button", { name: "Next branch" }).click();
  await page.getByRole("button", { name: "Regenerate" }).click();
  await page.getByText("2 of 2").nth(1).waitFor();

  await page.getByText("Tools", { exact: true }).click();
  await page.getByLabel("Tools as JSON").fill(TOOLS);
  await page.locator("input[type=file]").setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: DOT });
  await say("what is this");
  await page.getByRole("img", { name: "Picture 1" }).waitFor();
  await page.getByLabel("Result of look_up").fill('{"meaning": "a dot"}');
  await looks("playground-tool");
  await page.getByRole("button", { name: "Give to the model" }).click();
  await page.getByText("tool result").waitFor();
  await answers.last().getByText("gpt-4o-mini").waitFor();
  await page.reload();
  await page.getByText("2 of 2").first().waitFor();
  await page.getByRole("button", { name: "Export" }).click();
  const runs = [];
  for (const tab of ["Python (openai)", "curl", "stead.Gateway"]) {
    await page.getByRole("dialog").getByRole("tab", { name: tab }).click();
    runs.push(pasted(tab, await page.getByRole("dialog").locator("pre.code").innerText()));
  }
  for (const said of await Promise.all(runs)) check(said.includes("what0 is1"), `the exported code answers: ${said.slice(0, 300)}`);
  await page.keyboard.press("Escape");
  await page.getByLabel("Model", { exact: true }).selectOption(facts.model);
  await page.getByLabel("Message", { exact: true }).fill("and this?");
  await page.getByText(`${facts.model} reads text only, and this chat has pictures`).waitFor();
  check(await page.getByRole("button", { name: "Send" }).isDisabled(), "a picture can be sent to a model that cannot see");
  await page.getByRole("complementary", { name: "Chats" }).getByRole("link", { name: /count for me/ }).waitFor();

  await open(`/playground?model=small_cloud&model=larger`, "Playground");
  await page.getByRole("button", { name: "Compare with another model" }).click();
  await page.getByLabel("Model 3", { exact: true }).selectOption(facts.model);
  check(await page.getByRole("button", { name: "Compare with another model" }).count() === 0, "a fourth model is offered");
  await page.getByLabel("Longest answer").fill("8");
  await say("and you");
  for (const model of ["small_cloud", "larger", facts.model]) {
    await page.getByRole("region", { name: `Conversation with ${model}` }).getByRole("button", { name: "Regenerate" }).waitFor();
  }
  await page.getByText("gpt-4o", { exact: true }).waitFor();
  await settled();
  await looks("playground-three");
  await page.getByRole("button", { name: "Export" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("from openai import OpenAI").waitFor();
  await looks("playground-export");
  await dialog.getByRole("tab", { name: "Training rows" }).click();
  await dialog.getByRole("button", { name: "Close" }).click();
});
