// Checks of what a wallboard needs of the live page; page.mjs runs them, in an order in which they wait for little.

import assert from "node:assert/strict";
import { accessible, change, fed, open } from "./chromium.mjs";

/** Service levels have a sign and a colour against a target, and queues an order. */
export async function levels(south, url) {
  await change(south, "PUT", "services/Billing", { stats: { in_max_wait_time: "95", in_calls_waiting: "2", service_level: "0.755" } });
  await change(south, "PUT", "services/Chat", { stats: { in_max_wait_time: "10", service_level: "0.899" } });
  await change(south, "PUT", "services/Voice%20Inbound", { stats: { in_max_wait_time: "40", service_level: "0.5" } });
  const other = await open(`${url}?target=80&sort=wait&colour=red`);
  const level = (queue) => other.locator(`#queues tbody tr:has-text("${queue}") .value[data-grade]`).first();
  for (const [queue, grade, shown] of [["Billing", "near", /^△\s*75\.5 %/], ["Chat", "met", /^✓\s*89\.9 %/], ["Voice Inbound", "missed", /^▼\s*50 %/]]) {
    await other.waitForSelector(`#queues tbody tr:has-text("${queue}") [data-grade="${grade}"]`);
    assert.match(await level(queue).innerText(), shown, queue);
  }
  assert.match(await level("Billing").getAttribute("title"), /service_level 0\.755, target 80 %/, "the vendor's own number");
  assert.deepEqual(await other.locator("#queues tbody th > span:first-child").allInnerTexts(), ["Billing", "Voice Inbound", "Chat"]);
  await accessible(other, "with grades and a notice");
  await other.close();
}

/** The address holds the picture and says what is wrong in it. */
export async function addresses(url) {
  const other = await open(`${url}?team=Sales&state=ready,not_ready&q=a&service=bil&sort=level`);
  const rows = (n) => other.waitForFunction((n) => document.querySelectorAll("#agents-rows .row:not([hidden])").length === n, n);
  await rows(2);
  await other.waitForFunction(() => document.querySelectorAll("#queues tbody tr").length === 1);
  assert.equal(await other.inputValue("#queues-order"), "level");
  await other.fill("#agents-text", "dora");
  await other.click(".c-away.bar");
  await other.selectOption("#queues-order", "wait");
  await other.selectOption("#agents-order", "longest");
  await rows(1);
  const at = new URL(other.url());
  assert.equal(at.search, "?sort=wait&service=bil&order=longest&team=Sales&state=ready&q=dora");
  await other.reload();
  await rows(1);
  assert.deepEqual([await other.inputValue("#agents-team"), await other.inputValue("#agents-text")], ["Sales", "dora"]);
  await other.goto(`${url}?sort=wiat&target=800&team=Nobody&state=redy&colour=red`);
  await other.waitForSelector('#notice:has-text("sort=wiat is not one of name, wait"):has-text("target=800 is no percentage"):has-text("“colour” is no parameter"):has-text("No agent is in the state “redy”")');
  await other.waitForSelector('#agents-empty:has-text("No agent is in the team “Nobody”.")');
  await other.close();
}

/** Sound and notices are asked for, come once for each raise, and not after a reload. */
export async function notices(south, url) {
  const other = await open(url, { before: () => {
    globalThis.said = [];
    globalThis.tones = 0;
    globalThis.asked = 0;
    globalThis.Notification = class {
      static permission = "granted";
      static async requestPermission() {
        globalThis.asked++;
        return "granted";
      }
      constructor(title, { body }) {
        globalThis.said.push(`${title} | ${body}`);
      }
    };
    const make = AudioContext.prototype.createOscillator;
    AudioContext.prototype.createOscillator = function () {
      globalThis.tones++;
      return make.call(this);
    };
  } });
  await fed(other, "live");
  assert.deepEqual(await other.evaluate(() => [globalThis.tones, globalThis.asked]), [0, 0], "without being asked for");
  assert.equal(await other.locator('#tools [aria-pressed="false"]').count(), 2);
  await other.click("#notify-sound");
  await other.click("#notify-browser");
  await other.waitForSelector('#notify-browser[aria-pressed="true"]');
  await other.waitForFunction(() => globalThis.tones > 0); // how it sounds
  const tested = await other.evaluate(() => globalThis.tones);
  await change(south, "PUT", "services/Voice%20Inbound", { stats: { in_calls_waiting: "8" } });
  await other.waitForFunction(() => globalThis.said.length > 0);
  assert.deepEqual(await other.evaluate(() => globalThis.said), ["Critical: backlog | Voice Inbound: waiting 8 (south)"]);
  await other.waitForFunction((n) => globalThis.tones > n, tested);
  assert.equal(await other.evaluate(() => globalThis.asked), 1);
  await other.reload();
  await fed(other, "live");
  await other.waitForSelector('#notify-sound[aria-pressed="true"]');
  await other.waitForSelector("#thresholds-list li");
  await other.waitForTimeout(500); // two ticks
  assert.deepEqual(await other.evaluate(() => [globalThis.said, globalThis.asked]), [[], 0], "after a reload");
  await other.click("#notify-sound");
  await other.click("#notify-browser");
  assert.deepEqual(await other.evaluate(() => [localStorage.getItem("bridge.sound"), localStorage.getItem("bridge.notices")]), ["false", "false"]);
  await other.close();
}

/** A feed is stale also where the last checkpoint is later than the message that the bridge had prepared. */
export async function deadFeeds(page) {
  const got = await page.evaluate(async () => {
    const { View } = await import("./view.js");
    const view = new View();
    const feed = (epoch, poll, status) => ({ type: "bpcc.feed.checkpoint.v1", data: { epoch, poll, status } });
    const now = () => `${view.feed.status} ${view.feed.epoch}.${view.feed.poll}`;
    const heartbeat = (...f) => (view.applyFeed(feed(...f)), now());
    const event = (seq, ...f) => (view.apply({ key: "feed", seq, event: feed(...f) }), now());
    return [
      event(1, 1, 9, "live"), heartbeat(1, 9, "live"), heartbeat(1, 6, "stale"), heartbeat(1, 6, "stale"), // prepared at poll 6
      event(2, 1, 10, "live"), heartbeat(1, 6, "stale"), heartbeat(1, 10, "live"), heartbeat(1, 10, "stale"), // it was only paused
      event(3, 2, 11, "live"), heartbeat(1, 10, "stale"), heartbeat(1, 10, "stale"), // another leads
    ];
  });
  assert.deepEqual(got, ["live 1.9", "live 1.9", "live 1.9", "stale 1.9", "live 1.10", "live 1.10", "live 1.10", "stale 1.10", "live 2.11", "live 2.11", "live 2.11"]);
}

/** What a service level says, and which raise is news. */
export async function functions(page) {
  const got = await page.evaluate(async () => {
    const { Scale, gradeOf, percentText } = await import("./level.js");
    const { Raises } = await import("./notices.js");
    const { States } = await import("./address.js");
    const percent = (text, ...seen) => {
      const scale = new Scale();
      for (const s of [...seen, text]) scale.see(s);
      return String(scale.percent(text));
    };
    const said = [];
    const look = (raises, isLive, now, ...raised) => {
      said.length = 0;
      raises.look({ thresholds: new Map(raised.map(([key, at]) => [key, { at, pending_since: String(at) }])) }, isLive, now, "t");
      return said.join(" ");
    };
    const raises = new Raises({ notify: (_, id) => said.push(id) });
    const minute = 60_000;
    return {
      percents: [percent("0.85"), percent("85"), percent("1"), percent("1", "0.5"), percent("1", "0.5", "85"), percent("0"), percent("80%"), percent(""), percent("high")],
      texts: [percentText(79.96), percentText(80), percentText(0.07 * 100)],
      grades: [gradeOf(80, 80), gradeOf(79.9, 80), gradeOf(69, 80), gradeOf(NaN, 80), gradeOf(50, null)],
      states: ["ready,busy", "-busy,-logged_out", "-logged_out", "all", "none"].map((s) => String(States.parse(s))).concat(String(States.parse("a,-b"))),
      news: [
        look(raises, true, 0, ["old", -1]), // as the page opens
        look(raises, true, minute, ["old", -1], ["a", minute - 1]),
        look(raises, true, minute, ["a", minute - 1]),
        look(raises, true, 20 * minute, ["a", 10 * minute]), // raised again, and seen late, as in a hidden page
        look(raises, false, 21 * minute, ["a", 10 * minute], ["b", 20 * minute]), // the feed is not live
        look(raises, true, 23 * minute, ["a", 10 * minute], ["b", 20 * minute], ["c", 22.5 * minute]),
      ],
    };
  });
  assert.deepEqual(got, {
    percents: ["85", "85", "NaN", "100", "1", "0", "80", "NaN", "NaN"],
    texts: ["79.9 %", "80 %", "7 %"],
    grades: ["met", "near", "missed", "", ""],
    states: ["busy,ready", "-busy,-logged_out", "", "all", "none", "null"],
    news: ["", "t.a.59999", "", "t.a.600000", "", "t.c.1350000"],
  });
}

/** The state as JSON, for programs. */
export async function state(url) {
  const all = await (await fetch(`${url}api/state`)).json();
  assert.deepEqual(all.tenants.map((t) => t.tenant), ["north", "south"]);
  const r = await fetch(`${url}api/state?tenant=south`);
  const { tenants: [tenant] } = await r.json();
  assert.ok(tenant.feed.fresh && tenant.feed.age_seconds < 60);
  assert.deepEqual(tenant.agents.map((a) => a.id), ["anna.k", "bob", "carl", "dora"]);
  assert.equal(r.headers.get("cache-control"), "no-store");
  const none = await fetch(`${url}api/state?tenant=nobody`);
  assert.equal(none.status, 404);
  assert.match((await none.json()).error, /nobody/);
}

/** 36 agents and the queues fit on one screen, dark, without controls. */
export async function wall(south, url) {
  const states = ["ready", "busy", "after_call_work", "not_ready"];
  for (let n = 0; n < 33; n++) await change(south, "PUT", `agents/w${n}`, { first: "Maximiliana", last: `Wallace${n}`, team: "Sales", state: states[n % 4], reason: n % 4 === 3 ? "Lunch" : "", services: ["Voice Inbound"] });
  for (let n = 0; n < 9; n++) await change(south, "PUT", `services/Queue%20${n}`, { stats: { in_calls_waiting: String(n), in_max_wait_time: String(n * 30), service_level: `0.${9 - n}5` } });
  await change(south, "PUT", "services/Voice%20Inbound", { stats: { in_calls_waiting: "7" } });
  const wall = await open(`${url}?wall=1&target=80&state=all`, { width: 1920, height: 1080 });
  await fed(wall, "live");
  await wall.waitForFunction(() => document.querySelectorAll(".tile:not([hidden])").length === 36 && document.querySelectorAll("#queues tbody tr:not([hidden])").length === 12);
  await wall.waitForSelector("#thresholds-list li");
  const m = await wall.evaluate(() => {
    const out = (e) => {
      const r = e.getBoundingClientRect();
      return r.right > innerWidth || r.bottom > innerHeight || e.scrollWidth > e.clientWidth + 1;
    };
    const shown = (s) => [...document.querySelectorAll(s)].filter((e) => e.checkVisibility());
    return {
      scrolls: document.documentElement.scrollHeight > innerHeight || document.documentElement.scrollWidth > innerWidth,
      cut: shown(".tile, #queues tbody tr, #totals .figure").filter(out).map((e) => e.innerText),
      small: shown(".tile span, #queues tbody .value, #queues tbody th").filter((e) => e.innerText && parseFloat(getComputedStyle(e).fontSize) < 14).map((e) => `${e.className}: ${e.innerText}`),
      controls: shown("button, select, input").map((e) => e.outerHTML),
      dark: getComputedStyle(document.body).backgroundColor,
      cursor: getComputedStyle(document.querySelector(".tile")).cursor,
    };
  });
  assert.deepEqual(m, { scrolls: false, cut: [], small: [], controls: [], dark: "rgb(11, 15, 20)", cursor: "none" });
  await accessible(wall, "wall");
  await wall.close();
}
