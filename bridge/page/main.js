// The live page: what connects its parts.

import { Agents } from "./agents.js";
import { $, say } from "./dom.js";
import { Events } from "./events.js";
import { judge, showFeed, showTenants } from "./feed.js";
import { Live } from "./live.js";
import { Curves, Picture } from "./picture.js";
import { Queues, Thresholds, Totals } from "./queues.js";
import { untoken } from "./text.js";

let picture = new Picture(); // what is shown
let coming = null; // what will be shown once it is whole
let everReady = false;
let staleAfter = Infinity;
let tenant = new URLSearchParams(location.search).get("tenant") ?? "";
let feeds = {};
let ahead = 0; // beats since the view went ahead
let awake = false; // a frame is due

const curves = new Curves();
const live = new Live({ onHello, onEntries, onReady, onBeat, onChange: tick });
const now = () => live.now();
const events = new Events();
const agents = new Agents(now, (a) => events.find(a.id));
const queues = new Queues(now, curves);
const totals = new Totals(now, curves);
const thresholds = new Thresholds();
const parts = { agents: [agents, thresholds], services: [queues, thresholds], totals: [totals, thresholds], thresholds: [thresholds, queues], feed: [] };
const all = [agents, queues, totals, thresholds];

function onHello(hello) {
  coming = new Picture();
  coming.interrupted = hello.interrupted?.data ?? null;
  tenant = hello.tenant;
  staleAfter = hello.stale_after * 1000;
  curves.most = hello.curve * 1000;
  say($("version"), `bridge ${hello.version}`);
}

function onEntries(name, entries) {
  const to = coming ?? picture;
  if (name === "curves") {
    for (const { key, time, stats } of entries ?? []) curves.note(curveKey(key), Date.parse(time), stats);
    return;
  }
  for (const e of entries) {
    if (name === "events") events.take(e);
    if (e.past) continue;
    const changed = to.take(e);
    if (to === picture) for (const part of parts[changed] ?? []) part.take(picture);
    const kind = changed === "services" && e.event.data.after ? "service" : changed;
    if (name === "events" && (kind === "service" || kind === "totals")) curves.note(curveKey(e.key), Date.parse(e.event.time), e.event.data.after);
  }
  wake();
}

// curveKey is "service/Sales" for the key "service.Sales".
const curveKey = (key) => {
  const [kind, id] = key.split(".");
  return `${kind}/${untoken(id)}`;
};

function onReady(ready) {
  feeds = ready.feeds ?? {};
  picture = coming ?? picture;
  coming = null;
  everReady = true;
  for (const part of all) part.take(picture);
  // Where nothing has changed for long, the curve is what is.
  for (const [name, s] of picture.services) curves.note(`service/${name}`, s.at, s.after);
  for (const [app, t] of picture.totals) curves.note(`totals/${app}`, t.at, t.after);
  showTenants(feeds, tenant, picture);
  wake();
}

function onBeat(beat) {
  // The view follows the stream. If it is ahead for long, this page is not fed
  // what the stream holds: somebody has made the stream anew.
  ahead = picture.isBehind(beat.feed) && beat.feed.data.status !== "stale" ? ahead + 1 : 0;
  if (ahead > 3) {
    ahead = 0;
    live.again("Events stopped arriving.");
    return;
  }
  picture.takeFeed(beat.feed);
  if (beat.feeds) feeds = beat.feeds;
  if (beat.feed) feeds[tenant] = beat.feed;
  showTenants(feeds, tenant, picture);
  tick();
}

// tick shows the passing of time.
function tick() {
  const verdict = judge({ live, picture, staleAfter, everReady });
  showFeed(verdict, { picture, rate: events.rate(), tenant: untoken(tenant) || "BPCC bridge" });
  // What is not fresh must not look alive: its clocks stand still.
  if (verdict.state === "live") agents.tick();
  wake();
}

// wake draws what has changed, in the next frame; parts that drew a moment ago
// wait for the next tick.
function wake() {
  if (awake) return;
  awake = true;
  requestAnimationFrame(() => {
    awake = false;
    for (const part of all) part.draw();
    events.draw();
  });
}

// leave forgets one tenant for another.
function leave(to) {
  tenant = to;
  picture = new Picture();
  coming = null;
  everReady = false;
  curves.clear();
  events.clear();
  for (const part of all) part.take(picture);
  live.open(to);
}

$("tenant").addEventListener("change", (e) => {
  history.pushState(null, "", `?tenant=${encodeURIComponent(e.target.value)}`);
  leave(e.target.value);
});
addEventListener("popstate", () => leave(new URLSearchParams(location.search).get("tenant") ?? ""));

live.open(tenant);
setInterval(tick, 250);
