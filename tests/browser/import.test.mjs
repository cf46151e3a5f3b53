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

nothingWentWrong();
