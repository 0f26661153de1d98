// Checks the live page as a reader would use it, in a headless Chromium: two bridges
// of two simulated contact centres on one NATS server, and then one of 2,000
// agents. The browser may speak with nobody but the bridge.
//
//	node .ci/page.mjs

import assert from "node:assert/strict";
import { connect } from "@nats-io/transport-node";
import { jetstreamManager } from "@nats-io/jetstream";
import { accessible, browser, change, check, count, faults, fed, open, text } from "./chromium.mjs";
import { bridge, freePort, sleep, start, startNATS, startSim } from "./process.mjs";
import * as wallboard from "./wallboard.mjs";

const began = Date.now();

/** Start a bridge for a simulated tenant; resolves when its page answers. */
async function startBridge(tenant, sim, nats, env = {}) {
  const http = `127.0.0.1:${env.port ?? (await freePort())}`;
  delete env.port;
  const program = start(`bridge of ${tenant}`, bridge(), ["run"], {
    BPCC_URL: sim.url, BPCC_CLIENT_ID: sim.id, BPCC_CLIENT_SECRET: sim.secret, BPCC_POLL_INTERVAL: "1s", BPCC_AVAILABILITY_INTERVAL: "1s",
    NATS_URL: nats, BRIDGE_TENANT: tenant, BRIDGE_HTTP: http, BRIDGE_LOG_FORMAT: "text",
    BRIDGE_THRESHOLDS: '[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5},"clear":{"op":"<=","value":2},"severity":"critical"}]',
    ...env,
  });
  const url = `http://${http}/`;
  for (let n = 0; n < 400 && !program.end; n++) {
    if (await fetch(url).then((r) => r.ok, () => false)) return { program, url };
    await sleep(50);
  }
  throw new Error(`${url} does not answer:\n${program.tail()}`);
}

/** How often a simulated tenant was polled so far. */
async function polls(sim) {
  const { data } = await (await fetch(`${sim.url}/sim/counts`)).json();
  return Object.values(data).reduce((sum, n) => sum + n, 0);
}

const { server: natsServer, url: nats } = await startNATS();
const south = await startSim("--still");
const north = await startSim("--still");
for (const sim of [south, north]) {
  await change(sim, "PUT", "services/Voice%20Inbound", { stats: { in_calls_waiting: "1" } });
  for (const [login, state] of [["anna.k", "ready"], ["bob", "busy"], ["carl", ""], ["dora", "ready"]]) {
    await change(sim, "PUT", `agents/${login}`, { first: login.toUpperCase(), last: sim === south ? "South" : "North", team: "Sales", state, services: ["Voice Inbound"] });
  }
}
const southBridge = await startBridge("south", south, nats);
const northBridge = await startBridge("north", north, nats);
let page = await open(southBridge.url);

await check("the snapshot is shown", async () => {
  await fed(page, "live");
  await page.waitForFunction(() => document.querySelectorAll("#agents-rows .row:not([hidden])").length === 3);
  assert.match(await text(page, "#agents-count"), /3 of 4/, "the logged-out agent is counted and hidden at first");
  assert.match(await text(page, ".c-ready.bar"), /Ready\s+2/);
  await page.waitForSelector('#queues tbody tr:has-text("Voice Inbound")');
  assert.match(await text(page, "#fact-leader"), /\S/);
  assert.match(await text(page, "#fact-seen"), / ago$/);
});

await check("a change of state appears within a poll", async () => {
  const before = await polls(south);
  const at = Date.now();
  await change(south, "PUT", "agents/anna.k", { state: "not_ready", reason: "Lunch" });
  await page.waitForSelector('#agents-rows .row:has-text("ANNA.K South"):has-text("Not ready, Lunch")');
  const took = Date.now() - at;
  const asked = (await polls(south)) - before;
  // The one that was under way, the one that saw it, whatever the machine's pace.
  assert.ok(asked <= 2, `it took ${asked} polls`);
  await page.waitForSelector('#events-list li:has-text("Ready → Not ready (Lunch)")');
  return `${took} ms, polled every second`;
});

await check("queues, availability, thresholds", async () => {
  await change(south, "PUT", "services/Voice%20Inbound", { stats: { in_calls_waiting: "7" } });
  const raised = page.locator("#thresholds-list li");
  await raised.waitFor();
  assert.match(await raised.innerText(), /Critical\s*backlog\s*Voice Inbound: waiting 7 \(limit ≥ 5/);
  assert.match(await text(page, "#queues tbody tr.raised"), /▲ backlog/);
  assert.ok((await page.locator("#queues tbody .spark .line").first().getAttribute("d")).length > 10, "no curve");
  assert.match(await text(page, "#queues .available"), /Yes|No/);
  await change(south, "PUT", "services/Voice%20Inbound", { stats: { in_calls_waiting: "0" } });
  await page.waitForSelector("#thresholds-empty:not([hidden])");
});

await check("events: filtered by type and text, opened to their JSON", async () => {
  const type = (name) => page.locator("#events-types button", { hasText: name });
  assert.equal(await page.locator('#events-list li:has-text("in_calls")').count(), 0);
  await type("Queue numbers").click();
  await page.waitForSelector('#events-list li:has-text("Waiting 7 → 0")');
  await type("Queue numbers").click();
  await page.waitForSelector('#events-list li:has-text("Waiting 7 → 0")', { state: "detached" });
  await page.fill("#events-text", "lunch");
  await page.waitForFunction(() => document.querySelectorAll("#events-list li").length === 1);
  await page.locator("#events-list summary").first().click();
  const event = JSON.parse(await text(page, "#events-list pre"));
  assert.equal(event.type, "bpcc.agent.state_changed.v1");
  assert.equal(event.data.to.reason, "Lunch");
  assert.equal(await page.getAttribute("#events-follow", "aria-pressed"), "false", "it goes on while the reader has an event open");
  await change(south, "PUT", "agents/anna.k", { state: "not_ready", reason: "After lunch" });
  await page.waitForSelector('#events-follow:has-text("1 new")');
  await page.click("#events-follow");
  await page.waitForFunction(() => document.querySelectorAll("#events-list li").length === 2);
  await page.fill("#events-text", "");
});

await check("agents: filtered by state, team and text", async () => {
  const rows = (n) => page.waitForFunction((n) => document.querySelectorAll("#agents-rows .row:not([hidden])").length === n, n);
  await page.click(".c-out.bar");
  await rows(4);
  await page.click(".c-out.bar");
  await rows(3);
  await page.fill("#agents-text", "bob sal");
  await rows(1);
  await page.fill("#agents-text", "");
  await page.selectOption("#agents-team", "Sales");
  await rows(3);
});

let both; // contact centres side by side
const centre = (name, state) => both.waitForSelector(`.centre[data-feed="${state}"]:has(h2 a:text-is("${name}"))`);

await check("another contact centre, and several side by side", async () => {
  await page.waitForSelector("#tenant-pick:not([hidden])");
  await page.selectOption("#tenant", "north");
  await page.waitForSelector('#agents-rows .row:has-text("BOB North")');
  assert.equal(await page.locator('#agents-rows .row:has-text("South"):not([hidden])').count(), 0);
  assert.match(page.url(), /\?tenant=north$/);
  await fed(page, "live");
  both = await open(`${southBridge.url}?tenants=south,north,nowhere&target=80`);
  await centre("south", "live");
  await centre("north", "live");
  await centre("nowhere", "unknown");
  await both.waitForSelector('.centre:has-text("nowhere"):has-text("No bridge has published anything")');
  await both.waitForSelector('.centre:has(h2 a:text-is("north")) .count-of.c-ready:has-text("Ready2")');
  await accessible(both, "several");
  // NATS itself reports that some seconds later; the next checks do not need that bridge.
  await northBridge.program.stop("SIGKILL");
});

await check("service levels against a target, queues by longest wait", () => wallboard.levels(south, southBridge.url));

await check("the address holds the picture, and says what is wrong in it", () => wallboard.addresses(southBridge.url));

await check("sound and notices: asked for, once for each raise, not after a reload", () => wallboard.notices(south, southBridge.url));

await check("a feed that a dead bridge has left, by the message that it had prepared for that", () => wallboard.deadFeeds(page));

await check("what a service level says, and which raise is news", () => wallboard.functions(page));

await check("the state as JSON", () => wallboard.state(southBridge.url));

await check("the feed of a contact centre whose bridge was killed, beside one that is live", async () => {
  await fed(page, "stale"); // by the view, to which NATS itself writes that
  assert.match(await text(page, "#banner"), /may be dead/);
  await centre("north", "stale");
  await centre("south", "live");
  await both.waitForSelector('.centre:has(h2 a:text-is("south")) tr:has-text("Billing") [data-grade="near"]');
  assert.match(await text(both, "#status-word"), /2 of 3 not live/);
  const filter = (state) => both.evaluate((s) => getComputedStyle(document.querySelector(`.centre[data-feed="${s}"] .body`)).filter, state);
  assert.deepEqual([await filter("live"), await filter("stale")], ["none", "grayscale(1)"]);
  await both.close();
  await page.goBack();
  await page.waitForSelector('#agents-rows .row:has-text("BOB South")');
  await fed(page, "live");
});

await check("by keyboard alone", async () => {
  await page.reload();
  await fed(page, "live");
  await page.waitForSelector("#agents-rows .row:not([hidden])");
  const where = () => page.evaluate(() => {
    const e = document.activeElement;
    const s = getComputedStyle(e);
    const name = e.getAttribute("aria-label") || (e.getAttribute("aria-labelledby") && document.getElementById(e.getAttribute("aria-labelledby"))?.innerText) || e.labels?.[0]?.innerText || e.innerText || "";
    return { id: e.id || e.parentElement?.id || e.tagName, name: name.trim(), seen: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0, tag: e.tagName };
  });
  await page.keyboard.press("Tab");
  assert.match((await where()).name, /Skip to the agents/);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal((await where()).id, "agents-text", "the skip link leads into the agents");
  const stops = [];
  for (let n = 0; n < 60; n++) {
    const at = await where();
    if (at.tag === "BODY") break;
    assert.ok(at.name, `${at.tag} ${at.id} has no name`);
    assert.ok(at.seen, `${at.tag} ${at.id} does not show its focus`);
    stops.push(at.id);
    await page.keyboard.press("Tab");
  }
  for (const id of ["agents-team", "agents-states", "agents-grid", "events-text", "events-follow", "events-types", "events-list"]) {
    assert.ok(stops.includes(id), `${id} is not reached by Tab: ${stops.join(" ")}`);
  }
  await page.focus("#agents-grid");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  const active = () => page.evaluate(() => document.getElementById(document.getElementById("agents-grid").getAttribute("aria-activedescendant"))?.innerText ?? "");
  assert.match(await active(), /BOB South/);
  await page.keyboard.press("Home");
  assert.match(await active(), /ANNA/);
  // The next frame replaces the list, and what had the focus in it loses it.
  await page.evaluate(() => { for (const li of document.querySelectorAll("#events-list li")) li.dataset.former = ""; });
  await page.keyboard.press("Enter");
  assert.equal(await page.inputValue("#events-text"), "anna.k");
  await page.waitForSelector("#events-list:not(:has([data-former])) li");
  await page.locator("#events-list summary").first().focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#events-list pre");
  return `${new Set(stops).size} places`;
});

await check("rules of accessibility, light, dark and on a phone", async () => {
  await accessible(page, "light");
  await page.emulateMedia({ colorScheme: "dark" });
  await accessible(page, "dark");
  await page.setViewportSize({ width: 360, height: 740 });
  await accessible(page, "phone");
  await page.setViewportSize({ width: 1440, height: 900 });
});

await check("no scrolling sideways, from 320 pixels to a wall", async () => {
  for (const width of [320, 360, 414, 600, 768, 1024, 1280, 1920, 3840]) {
    await page.setViewportSize({ width, height: 800 });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(over, 0, `${over} pixels too wide at ${width}`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
});

await check("an interrupted feed turns the page visibly stale, and back", async () => {
  const wall = await open(`${southBridge.url}?wall=1`, { width: 1920, height: 1080 });
  await fed(wall, "live");
  await change(south, "POST", "faults", { status: 502, times: -1 });
  await fed(page, "stale");
  await fed(wall, "stale");
  assert.match(await text(wall, "#banner"), /BPCC cannot be polled/);
  assert.equal(await wall.evaluate(() => getComputedStyle(document.querySelector("#one")).filter), "grayscale(1)");
  assert.equal(await wall.evaluate(() => document.documentElement.scrollHeight > innerHeight), false);
  await wall.close();
  assert.match(await text(page, "#banner"), /BPCC cannot be polled.*The data shown is from/);
  assert.equal(await text(page, "#status-word"), "Interrupted");
  assert.match(await page.title(), /^▲ Interrupted/);
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("main")).filter), "grayscale(1)");
  await change(south, "DELETE", "faults");
  await fed(page, "live");
  assert.equal(await page.locator("#banner").isVisible(), false);
});

await check("a lost connection turns it stale, and it comes back by itself", async () => {
  const { port } = new URL(southBridge.url);
  const epoch = Number(await text(page, "#fact-epoch"));
  await southBridge.program.stop();
  await fed(page, "stale");
  assert.match(await text(page, "#banner"), /connection to the bridge is lost/);
  await change(south, "DELETE", "agents/dora");
  southBridge.program = (await startBridge("south", south, nats, { port })).program;
  await fed(page, "live");
  await page.waitForSelector('#agents-rows .row:has-text("DORA"):not([hidden])', { state: "detached" });
  assert.ok(Number(await text(page, "#fact-epoch")) > epoch);
  // The day of a queue is in the stream, so a bridge that has just started shows it.
  const other = await open(southBridge.url);
  await other.waitForSelector('#queues tr:has-text("Voice Inbound") .day[aria-label*="at most 8 waiting"][aria-label*="thresholds raised: backlog at"]');
  assert.ok((await other.locator('#queues tr:has-text("Voice Inbound") .day .mark').getAttribute("d")).length > 10, "no mark of a raised threshold");
  assert.match(await other.locator('#queues tbody tr:has-text("Billing")').innerText(), /[^△]75\.5 %/, "a grade without a target");
  assert.match(await text(other, "th.chart"), /^Day since \d\d:\d\d$/);
  await other.close();
});

await check("a stream that is deleted, and the bridge recreates", async () => {
  const nc = await connect({ servers: nats });
  await (await jetstreamManager(nc)).streams.delete("BPCC_EVENTS");
  await nc.close();
  await change(south, "PUT", "agents/bob", { state: "not_ready", reason: "Stream gone" });
  await page.waitForSelector('#agents-rows .row:has-text("Not ready, Stream gone")', { timeout: 90_000 });
  await fed(page, "live");
});

await check("a wall: 36 agents and the queues on one screen, dark, without controls", () => wallboard.wall(south, southBridge.url));

await page.close();
for (const p of [southBridge.program, natsServer, south.sim, north.sim]) await p.stop();

await check("2,000 agents stay smooth", async () => {
  const demo = start("demo of 2,000", bridge(), ["demo", "--agents", "2000", "--seed", "7"]);
  const [, url] = await demo.ready("live page", () => demo.stdout.match(/live page\s+(\S+)/));
  await demo.ready("first snapshot", () => demo.stdout.includes("first snapshot"), 60);
  page = await open(url);
  await fed(page, "live");
  await page.click(".c-out.bar"); // all of them
  for (const b of await page.locator('#events-types button[aria-pressed="false"]').all()) if (await b.isVisible()) await b.click();
  // The time of the processor, not of the clock: others use this machine too.
  const cdp = await browser.newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => Object.fromEntries((await cdp.send("Performance.getMetrics")).metrics.map(({ name, value }) => [name, value]));
  const before = await busy();
  const m = await page.evaluate(async () => {
    const long = [];
    const observer = new PerformanceObserver((l) => long.push(...l.getEntries().map((e) => e.duration)));
    observer.observe({ type: "longtask" });
    const frames = [];
    const grid = document.getElementById("agents-grid");
    const bottom = grid.scrollHeight - grid.clientHeight;
    const began = performance.now();
    let last = began;
    await new Promise((resolve) => {
      const frame = (now) => {
        frames.push(now - last);
        last = now;
        grid.scrollTop = (frames.length * 23) % bottom; // scroll all the time
        if (now < began + 10_000) requestAnimationFrame(frame);
        else resolve();
      };
      requestAnimationFrame(frame);
    });
    observer.disconnect();
    frames.sort((a, b) => a - b);
    const at = (share) => frames[Math.floor(frames.length * share)];
    return { long, frames: frames.length, half: at(0.5), most: at(0.99), elements: document.querySelectorAll("*").length, rows: document.querySelectorAll("#agents-rows .row").length };
  });
  const after = await busy();
  const share = (name) => (after[name] - before[name]) / 10;
  const rate = await text(page, "#fact-rate");
  assert.match(await text(page, "#agents-count"), /^2000$/, "not all agents are in the list");
  await demo.stop();
  assert.ok(m.rows < 120, `${m.rows} rows of agents in the document`);
  assert.ok(m.elements < 4000, `${m.elements} elements in the document`);
  assert.ok(share("TaskDuration") < 0.85, `the page's thread is busy for ${share("TaskDuration")} of the time`);
  const percent = (name) => `${Math.round(share(name) * 100)} %`;
  return `${rate} of events, all shown while scrolling: ${m.frames} frames in 10 s, half within ${m.half.toFixed(1)} ms, 99 of 100 within ${m.most.toFixed(1)} ms, ` +
    `${m.long.length} tasks over 50 ms (longest ${Math.max(0, ...m.long).toFixed(0)} ms); the page's thread computes ${percent("TaskDuration")} of the time, ${percent("ScriptDuration")} in scripts; ${m.elements} elements`;
});

await check("no complaint of the browser, and no word to anybody else", async () => assert.deepEqual(faults, []));

await browser.close();
console.log(`\npage: ${count.passed} passed, ${count.failed} failed, ${((Date.now() - began) / 1000).toFixed(1)} s`);
process.exit(count.failed ? 1 : 0);
