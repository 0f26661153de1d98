// A headless Chromium whose pages may speak with nobody but their own server, for checks of the live page.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync } from "node:fs";
import path from "node:path";
import { chromium } from "playwright-core";
import { scratch } from "./process.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** What must not happen in any page. */
export const faults = []; // errors and warnings of the browser

export const browser = await chromium.launchPersistentContext(mkdtempSync(path.join(scratch, "chromium-")), {
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  // As root in a container there is no sandbox, and the rest keeps it from calling home.
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  viewport: { width: 1440, height: 900 },
});

/** How many checks went how. */
export const count = { passed: 0, failed: 0 };

/** Run a check and say how it went. */
export async function check(name, run) {
  const at = Date.now();
  try {
    const note = await run();
    count.passed++;
    console.log(`ok    ${name}${note ? `: ${note}` : ""} (${((Date.now() - at) / 1000).toFixed(1)} s)`);
  } catch (err) {
    count.failed++;
    console.log(`FAIL  ${name}\n${err.stack}`);
  }
}

/** Open a page that may load from its own server alone. */
export async function open(url, { width = 1440, height = 900, scheme = "light", before } = {}) {
  const page = await browser.newPage();
  if (before) await page.addInitScript(before);
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: scheme });
  page.setDefaultTimeout(40_000);
  page.on("console", (m) => {
    // Of the tests that stop the bridge.
    if (["error", "warning"].includes(m.type()) && !/net::ERR_|503/.test(m.text())) faults.push(`console: ${m.text()}`);
  });
  page.on("pageerror", (err) => faults.push(`script: ${err.stack}`));
  page.on("request", (r) => {
    if (new URL(r.url()).origin !== new URL(url).origin) faults.push(`asked for ${r.url()}`);
  });
  await page.goto(url);
  return page;
}

/** The page has judged its feed so. */
export const fed = (page, state) => page.waitForSelector(`body[data-feed="${state}"]`);
/** The text of the first element that fits. */
export const text = (page, selector) => page.locator(selector).first().innerText();

/** Ask a simulated tenant to change. */
export async function change(sim, method, what, body) {
  const r = await fetch(`${sim.url}/sim/${what}`, { method, body: body && JSON.stringify(body) });
  assert.ok(r.ok, `${method} ${what}: ${r.status} ${await r.text()}`);
  return r;
}

/** No violation of the rules that a machine can check. */
export async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const found = violations.map((v) => `${v.id} (${v.impact}): ${v.help}\n    ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join("\n    ")}`);
  assert.equal(found.length, 0, `${what}:\n${found.join("\n")}`);
}
