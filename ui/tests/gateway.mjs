/** Gateway: a key is made, limited, used, revoked; what was asked is seen live, counted and priced; routing is tried. */
import { drive } from "./harness.mjs";

async function ask(page, key, content) {
  return page.evaluate(async ([token, text]) => {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token}` };
    const answer = await fetch("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify({ model: "small_cloud", max_tokens: 5, messages: [{ role: "user", content: text }] }) });
    await answer.text();
    return answer.status;
  }, [key, content]);
}

await drive("gateway", async (page, { open, looks, check, settled, allow }) => {
  await open("/gateway", "Gateway");
  await page.getByRole("tab", { name: "Keys" }).click();
  await page.getByRole("button", { name: "Make a key" }).click();
  await page.getByLabel("Name").fill("ci");
  await page.getByLabel("US dollars a month").fill("5");
  await looks("gateway-key-form");
  await page.getByRole("button", { name: "Make", exact: true }).click();
  const key = (await page.getByRole("dialog").locator("pre").innerText()).trim();
  check(key.startsWith("sk-stead-"), `that is no key: ${key}`);
  await page.getByRole("button", { name: "I have kept it" }).click();
  const row = page.getByRole("row", { name: /^ci / });
  await row.getByText("$5.00 a month").waitFor();
  await row.getByRole("button", { name: "Change ci" }).click();
  await page.getByLabel("Requests per minute").fill("60");
  await page.getByRole("button", { name: "Save" }).click();
  await row.getByText("60 requests/min").waitFor();

  await page.getByRole("tab", { name: "Requests" }).click();
  await page.getByText("live", { exact: true }).waitFor();
  check(await ask(page, key, "one two three") === 200, "the new key is refused");
  await page.getByRole("row", { name: /gpt-4o-mini|small_cloud/ }).getByText("200").first().waitFor();
  await settled();
  await looks("gateway-requests");

  await page.getByRole("tab", { name: "Spend" }).click();
  await page.getByRole("region", { name: "Spend by key" }).getByText("ci", { exact: true }).waitFor();
  await page.locator(".histogram .bar").first().waitFor();
  await looks("gateway-spend");
  await page.getByRole("tab", { name: "Providers" }).click();
  await page.getByRole("row", { name: /cloud_api/ }).getByText("ok").waitFor();
  await looks("gateway-providers");

  await page.getByRole("tab", { name: "Keys" }).click();
  await row.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await row.getByText("revoked", { exact: true }).waitFor();
  await looks("gateway-keys");
  allow("401");
  await page.waitForTimeout(2100); // as long as the page promises
  check(await ask(page, key, "still me") === 401, "a revoked key is still taken");

  await page.getByRole("tab", { name: "Strategies" }).click();
  await looks("gateway-strategies");
  await page.getByRole("link", { name: "hybrid_fallback" }).click();
  await page.getByLabel("Inputs").fill("Summarise this contract.");
  await page.getByRole("button", { name: "Who would answer?" }).click();
  await page.getByText("asked first").waitFor();
  await looks("gateway-strategy");
});
