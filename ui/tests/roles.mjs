/** What a viewer and a member are not offered, and what the server refuses them when they try all the same. */
import { drive } from "./harness.mjs";

/** Ask the API as whoever the browser is; returns the status. */
async function status(page, method, path, body) {
  return page.evaluate(async ([m, p, b]) => {
    const { csrf } = await (await fetch("/api/me")).json();
    const headers = { "Content-Type": "application/json", "X-Stead-CSRF": csrf };
    return (await fetch(p, { method: m, headers, ...(b === undefined ? {} : { body: JSON.stringify(b) }) })).status;
  }, [method, path, body]);
}

async function made(page, name, role) {
  return page.evaluate(async ([n, r]) => {
    const { csrf } = await (await fetch("/api/me")).json();
    const headers = { "Content-Type": "application/json", "X-Stead-CSRF": csrf };
    const user = await (await fetch("/api/users", { method: "POST", headers, body: JSON.stringify({ name: n, role: r }) })).json();
    return (await (await fetch(`/api/users/${user.id}/link`, { method: "POST", headers })).json()).code;
  }, [name, role]);
}

await drive("roles", async (page, { open, looks, check, settled, allow, facts }) => {
  const refused = async (who, ...asked) => {
    const found = await status(page, ...asked);
    check(found === 403, `${who}: ${asked[0]} ${asked[1]} answered ${found}`);
  };
  const enter = async (code) => {
    await page.context().clearCookies();
    await page.goto("about:blank");
    await open(`/#token=${code}`, "Home");
  };
  const absent = async (role, name) => { check(await page.getByRole(role, { name, exact: true }).count() === 0, `${name} is offered`); };
  const pages = page.getByRole("navigation", { name: "Pages" });
  allow(/403/);
  await open("/", "Home");
  const [viewer, member] = [await made(page, "Vito", "viewer"), await made(page, "Mira", "member")];

  await enter(viewer);
  await pages.getByText(/^Vito · viewer · /).waitFor();
  await pages.getByRole("link", { name: "Runs" }).waitFor();
  for (const name of ["Train", "Playground"]) check(await pages.getByRole("link", { name }).count() === 0, `a viewer is offered ${name}`);
  await open("/train", "Train");
  await page.getByText("Train is for the role member").waitFor();
  await open(`/runs/${facts.run}`, "first");
  for (const name of ["Fork", "Rename", "Delete"]) await absent("button", name);
  await looks("roles-viewer-run");
  await open("/evaluate", "Evaluate");
  await absent("heading", "New evaluation");
  await open("/gateway", "Gateway");
  await absent("tab", "Keys");
  await absent("button", "Use cloud_production");
  await page.getByRole("link", { name: "cloud_production" }).click();
  await page.getByRole("heading", { name: "As YAML" }).waitFor();
  await absent("button", "Check and save");
  await open("/settings", "Settings");
  await absent("tab", "Users and tokens");
  check(await page.getByRole("button", { name: /^Edit / }).count() === 0, "a viewer may edit settings");
  await settled();
  await looks("roles-viewer-settings");
  await refused("viewer", "POST", "/api/runs", { config: {} });
  await refused("viewer", "POST", `/api/runs/${facts.run}/fork`, {});
  await refused("viewer", "POST", "/api/chats", {});
  await refused("viewer", "DELETE", `/api/datasets/${facts.dataset}`);
  await refused("viewer", "PUT", "/api/settings/log.level", { value: "debug" });

  await enter(member);
  await pages.getByRole("link", { name: "Train" }).waitFor();
  await open(`/runs/${facts.run}`, "first");
  await page.getByRole("button", { name: "Fork" }).waitFor();
  await open("/gateway", "Gateway");
  await absent("tab", "Keys");
  await open("/settings", "Settings");
  await absent("tab", "History");
  for (const [method, path, body] of [["GET", "/api/users"], ["POST", "/api/keys", { name: "x" }], ["PUT", "/api/settings/log.level", { value: "debug" }], ["GET", "/api/audit"], ["DELETE", `/api/models/${facts.model}`]]) {
    await refused("member", method, path, body);
  }
});
