//! What mDash keeps, in a real browser: its file is looked at before anything is made, a wrong entry stops it, and then
//! all of it is there.
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  begin,
  button,
  dialog,
  follow,
  nothingWentWrong,
  page,
  row,
  shoot,
} from "./stage.mjs";

const KEPT = readFileSync(
  new URL("../../crates/server/tests/api/db.json", import.meta.url),
  "utf8",
);
const WRONG = KEPT.replace(
  "email_mos_app_k2j4h5g6f, email_admin",
  "email_nobody",
);

begin();

const choose = (text) =>
  dialog()
    .locator("input[type=file]")
    .setInputFiles({
      name: "db.json",
      mimeType: "application/json",
      buffer: Buffer.from(text),
    });

test("a wrong entry is named, and nothing is made", async () => {
  await follow("Devices");
  await button("Import").click();
  await button("Import its db.json", dialog()).click();
  await dialog().getByRole("heading", { name: "Import from mDash" }).waitFor();
  await choose(WRONG);
  const wrong = dialog().getByRole("region", { name: "Wrong entries" });
  await wrong.getByText("email_nobody").waitFor();
  await button("Import", dialog()).and(page.locator(":disabled")).waitFor();
  await shoot("import-wrong");
});

test("the whole file is taken, and its devices are there", async () => {
  await button("Another file", dialog()).click();
  await choose(KEPT);
  await dialog().getByText("It would make 3 users").waitFor();
  await button("Import", dialog()).click();
  await dialog()
    .getByRole("heading", { name: "Imported from mDash" })
    .waitFor();
  await shoot("import-done");
  await button("Done", dialog()).click();
  await row("Hall Lamp").waitFor();
  await row("Desk").waitFor();
  await follow("Customers");
  await row("lea@example.com").waitFor();
});

test("what the dashboard of IoT base keeps is taken, and its blocks are a dashboard", async () => {
  await follow("Devices");
  await button("Import").click();
  await button("Import its database", dialog()).click();
  await dialog()
    .getByRole("heading", { name: "Import from IoT base" })
    .waitFor();
  const dump = [
    "INSERT INTO `devices` (`id`,`uuid`,`name`,`type`,`active`) VALUES (1,'u-1','Window light','readable',1);",
    "INSERT INTO `device_states` (`id`,`device_id`,`value`,`created_at`) VALUES (1,1,'512','2026-01-01 10:00:00');",
    "INSERT INTO `dashboard_blocks` (`id`,`device_id`,`order`) VALUES (1,1,1);",
  ];
  await dialog()
    .locator("input[type=file]")
    .setInputFiles({
      name: "dump.sql",
      mimeType: "text/plain",
      buffer: Buffer.from(dump.join("\n")),
    });
  await dialog()
    .getByText("devices: 1, points of their history: 1, dashboards: 1")
    .waitFor();
  await shoot("import-iot-base");
  await button("Import", dialog()).click();
  await dialog()
    .getByRole("heading", { name: "Imported from IoT base" })
    .waitFor();
  await button("Done", dialog()).click();
  await row("Window light").waitFor();
  await follow("Dashboards");
  await page.getByText("IoT base").first().waitFor();
});

nothingWentWrong();
