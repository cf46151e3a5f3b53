//! What happens reaches those who are not the dashboard: webhooks, seen and sent again by a person, and a web page of
//! somebody's own that hears a device by an unmodified pusher-js, as the guide has it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { connectMqtt } from "./mqtt.mjs";
import { atEnd } from "./programs.mjs";
import {
  api,
  begin,
  button,
  dialog,
  follow,
  goto,
  heading,
  hub,
  nothingWentWrong,
  page,
  row,
  shoot,
} from "./stage.mjs";

const ROOT = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  "../..",
);
const received = [];
let answers = 200;
const receiver = await serve((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    if (answers === 200)
      received.push({ headers: request.headers, body: JSON.parse(body) });
    response
      .writeHead(answers)
      .end(answers === 200 ? "thank you" : "no such chat");
  });
});

begin({
  serve: ["--pusher", "127.0.0.1:0", "--webhook-network", "127.0.0.0/8"],
});

/** A server on a free port of this machine. */
async function serve(handler) {
  const server = createServer(handler);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  atEnd(
    () =>
      new Promise((done) => (server.closeAllConnections(), server.close(done))),
  );
  return `http://127.0.0.1:${server.address().port}`;
}

const group = (name) => api("POST", "/groups", { name, selector: "online" });

test("Ada makes a webhook, and a ping arrives signed", async () => {
  await follow("Webhooks");
  await page.getByText("No webhooks yet").waitFor();
  await button("New webhook").first().click();
  await dialog().getByLabel("Name").fill("chat");
  await dialog().getByLabel("Address").fill("http://10.0.0.7/hook");
  await dialog().getByLabel("Changes").fill("group_*");
  await button("Save", dialog()).click();
  await dialog().getByText("The secret of this webhook").waitFor();
  await shoot("webhook-secret");
  await button("I have it", dialog()).click();
  await row("chat").getByRole("link", { name: "chat" }).click();
  await heading("chat");
  await button("Send a ping").click();
  await page.getByText("The ping was not taken").waitFor();
  await button("Edit").click();
  await dialog().getByLabel("Address").fill(`${receiver}/hook`);
  await button("Save", dialog()).click();
  await button("Send a ping").click();
  await page.getByText("The ping was taken: 200 thank you").waitFor();
  const { headers } = received.at(-1);
  assert.match(headers["webhook-signature"], /^v1,/);
  assert.ok(headers["webhook-id"] && headers["webhook-timestamp"]);
});

test("what is refused is a dead letter, which Ada reads and sends again", async () => {
  answers = 404;
  await group("Attic");
  const dead = row("group_created");
  await dead.getByText("no such chat").waitFor();
  await shoot("webhook-dead-letters");
  await dead.getByRole("button", { name: "group_created" }).click();
  await dialog().getByText('"Attic"').first().waitFor();
  await page.keyboard.press("Escape");
  answers = 200;
  await button("Send again", dead).click();
  await page.getByText("No dead letters").waitFor();
  await page.getByRole("button", { name: "Delivered" }).click();
  await row("group_created").getByText("thank you").waitFor();
  assert.equal(
    received.filter(({ body }) => body.event === "group_created").length,
    1,
  );
  await shoot("webhook-delivered");
});

test("a page of her own shows what a lamp measures, with the pusher-js that everybody has", async () => {
  await follow("Tokens");
  await button("New app").click();
  await dialog().getByLabel("Name").fill("page");
  await button("Add the app", dialog()).click();
  await dialog().getByText("The app is added").waitFor();
  await shoot("realtime-app");
  await button("Done", dialog()).click();
  await shoot("realtime-card");
  const { items } = await api("GET", "/pusher-apps");
  const { token } = await api("POST", "/tokens", {
    name: "page",
    role: "viewer",
  });
  const lamp = await api("POST", "/devices", {
    name: "Lamp",
    dialect: "native",
  });

  const guide = await readFile(
    path.join(ROOT, "docs/guide/realtime-in-your-own-web-page.md"),
    "utf8",
  );
  const [, snippet] = /```html\n([\s\S]*?)```/.exec(guide);
  const [host, port] = hub.pusher.split(":");
  const html = snippet
    .replaceAll("hub.example", host)
    .replaceAll("6001", port)
    .replace("'KEY'", `'${items[0].key}'`)
    .replace("TOKEN", token)
    .replace("private-device-ID", `private-device-${lamp.id}`);
  const from = createRequire(
    path.join(ROOT, "tests/interop/pusher/package.json"),
  );
  const script = await readFile(
    from.resolve("pusher-js/dist/web/pusher.min.js"),
  );
  const site = await serve((request, response) => {
    const isScript = request.url === "/pusher.min.js";
    const kind = isScript ? "text/javascript" : "text/html; charset=utf-8";
    response
      .writeHead(200, { "content-type": kind })
      .end(isScript ? script : html);
  });

  const visitor = await page.context().newPage();
  await visitor.goto(site);
  await visitor.waitForFunction(
    (name) => pusher.channel(name).subscribed,
    `private-device-${lamp.id}`,
  );
  const board = await connectMqtt(hub.mqtt, {
    clientId: lamp.id,
    user: lamp.id,
    password: lamp.credential,
  });
  await board.publish(
    `devices/${lamp.id}/telemetry`,
    JSON.stringify({ value: 42.5 }),
  );
  await visitor.locator("#value").getByText("42.5").waitFor();
  await goto("/tokens");
  await shoot("realtime-connected");
  await visitor.close();
});

nothingWentWrong();
