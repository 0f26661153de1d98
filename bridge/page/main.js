// The live page: what connects its parts.

import { Agents } from "./agents.js";
import { $, setText } from "./dom.js";
import { Events } from "./events.js";
import { judge, showFeed, showTenants } from "./feed.js";
import { Live } from "./live.js";
import { Series, View } from "./view.js";
import { Queues, Thresholds, Totals } from "./queues.js";
import { untoken } from "./text.js";

let view = new View(); // what is shown
let next = null; // what will be shown once the snapshot is complete
let everReady = false;
let staleAfter = Infinity;
let tenant = new URLSearchParams(location.search).get("tenant") ?? "";
let feeds = {};
let ahead = 0; // heartbeats since the view went ahead of the events
let drawing = false; // a frame is requested

const series = new Series();
const live = new Live({ onHello, onEntries, onReady, onHeartbeat, onChange: tick });
const now = () => live.now();
const events = new Events();
const agents = new Agents(now, (a) => events.find(a.id));
const queues = new Queues(now, series);
const totals = new Totals(now, series);
const thresholds = new Thresholds();
const parts = { agents: [agents, thresholds], services: [queues, thresholds], totals: [totals, thresholds], thresholds: [thresholds, queues], feed: [] };
const all = [agents, queues, totals, thresholds];

function onHello(hello) {
  next = new View();
  next.interrupted = hello.interrupted?.data ?? null;
  tenant = hello.tenant;
  staleAfter = hello.stale_after_seconds * 1000;
  series.window = hello.series_seconds * 1000;
  setText($("version"), `bridge ${hello.version}`);
}

function onEntries(name, entries) {
  const to = next ?? view;
  if (name === "series") {
    for (const { key, time, stats } of entries ?? []) series.add(seriesKey(key), Date.parse(time), stats);
    return;
  }
  for (const e of entries) {
    if (name === "events") events.add(e);
    if (e.backlog) continue;
    const changed = to.apply(e);
    if (to === view) for (const part of parts[changed] ?? []) part.update(view);
    const kind = changed === "services" && e.event.data.after ? "service" : changed;
    if (name === "events" && (kind === "service" || kind === "totals")) series.add(seriesKey(e.key), Date.parse(e.event.time), e.event.data.after);
  }
  requestDraw();
}

// seriesKey is "service/Sales" for the key "service.Sales".
const seriesKey = (key) => {
  const [kind, id] = key.split(".");
  return `${kind}/${untoken(id)}`;
};

function onReady(ready) {
  feeds = ready.feeds ?? {};
  view = next ?? view;
  next = null;
  everReady = true;
  for (const part of all) part.update(view);
  // Without a change for long, a series has the current value alone.
  for (const [name, s] of view.services) series.add(`service/${name}`, s.at, s.after);
  for (const [app, t] of view.totals) series.add(`totals/${app}`, t.at, t.after);
  showTenants(feeds, tenant, view);
  requestDraw();
}

function onHeartbeat(heartbeat) {
  // The view follows the stream. If it is ahead for long, this page does not get
  // what the stream holds: the stream was recreated.
  ahead = view.isBehind(heartbeat.feed) && heartbeat.feed.data.status !== "stale" ? ahead + 1 : 0;
  if (ahead > 3) {
    ahead = 0;
    live.reconnect("The events stopped.");
    return;
  }
  view.applyFeed(heartbeat.feed);
  if (heartbeat.feeds) feeds = heartbeat.feeds;
  if (heartbeat.feed) feeds[tenant] = heartbeat.feed;
  showTenants(feeds, tenant, view);
  tick();
}

// tick updates what depends on the time.
function tick() {
  const verdict = judge({ live, view, staleAfter, everReady });
  showFeed(verdict, { view, rate: events.rate(), tenant: untoken(tenant) || "BPCC bridge" });
  // Stale data must not look live: its clocks stop.
  if (verdict.state === "live") agents.tick();
  requestDraw();
}

// requestDraw draws what has changed, in the next frame; parts that have just drawn
// wait for the next tick.
function requestDraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    for (const part of all) part.draw();
    events.draw();
  });
}

// switchTenant shows another tenant.
function switchTenant(to) {
  tenant = to;
  view = new View();
  next = null;
  everReady = false;
  series.clear();
  events.clear();
  for (const part of all) part.update(view);
  live.open(to);
}

$("tenant").addEventListener("change", (e) => {
  history.pushState(null, "", `?tenant=${encodeURIComponent(e.target.value)}`);
  switchTenant(e.target.value);
});
addEventListener("popstate", () => switchTenant(new URLSearchParams(location.search).get("tenant") ?? ""));

live.open(tenant);
setInterval(tick, 250);
