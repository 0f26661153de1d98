// One contact centre: what connects the parts of the page.

import { Agents } from "./agents.js";
import { Day } from "./day.js";
import { $, setText } from "./dom.js";
import { Events } from "./events.js";
import { judge, showFeed, showTenants } from "./feed.js";
import { Scale } from "./level.js";
import { Live } from "./live.js";
import { Raises } from "./notices.js";
import { Series, View } from "./view.js";
import { Queues, Thresholds, Totals } from "./queues.js";
import { untoken } from "./text.js";
import { fitRows, Tiles } from "./wall.js";

/** Show the tenant of the address. */
export function showOne(address, notifier, notice) {
  let view = new View(); // what is shown
  let next = null; // what will be shown once the snapshot is complete
  let everReady = false;
  let staleAfter = Infinity;
  let tenant = address.tenant;
  let feeds = {};
  let ahead = 0; // heartbeats since the view went ahead of the events
  let drawing = false; // a frame is requested
  let verdict = null; // how far the data can be trusted

  const series = new Series();
  const live = new Live({ onHello, onEntries, onReady, onHeartbeat, onChange: tick });
  const now = () => live.now();
  const events = new Events();
  const scale = new Scale();
  const day = new Day(scale, onDay, () => (verdict?.state === "live" ? Infinity : verdict?.seen ?? Infinity));
  const raises = new Raises(notifier);
  const agents = new Agents({ now, onPick: (a) => events.find(a.id), address, tiles: address.wall ? new Tiles() : null });
  const queues = new Queues({ now, series, scale, day, address });
  const totals = new Totals({ now, series, scale, address });
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
    day.open(tenant);
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
    verdict = judge({ live, view, staleAfter, everReady });
    showFeed(verdict, { view, rate: events.rate(), tenant: untoken(tenant) || "BPCC bridge" });
    if (everReady) raises.look(view, verdict.state === "live", live.now(), view.feed?.tenant ?? untoken(tenant));
    notice(agents.faults());
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
      if (address.wall) fitWall();
      else events.draw();
    });
  }

  // A wall has no room to scroll. What fits is computed again only when something may have changed it.
  let fitted = "";
  function fitWall() {
    const box = $("queues-scroll");
    const raised = $("thresholds-list");
    const rows = box.querySelectorAll("tbody tr");
    const order = [...rows].map((r) => r.firstChild.textContent).join();
    const shape = [order, box.clientHeight, box.clientWidth, raised.children.length, raised.clientHeight, day.version].join();
    if (shape === fitted) return;
    fitted = shape;
    box.style.setProperty("--rows", rows.length + 1);
    const left = fitRows(box, rows);
    setText($("queues-left"), left > 0 ? `${left} more queues have no room: choose some with service= in the address` : "");
    const more = fitRows(raised, raised.children, 1);
    setText($("thresholds-left"), more > 0 ? `${more} more raised` : "");
  }

  function onDay() {
    queues.update(view);
    requestDraw();
  }

  // switchTenant shows another tenant.
  function switchTenant(to) {
    tenant = to;
    view = new View();
    next = null;
    everReady = false;
    series.clear();
    events.clear();
    scale.clear();
    raises.clear();
    for (const part of all) part.update(view);
    live.open(to);
  }

  $("tenant").addEventListener("change", (e) => {
    // Teams and queues are those of one contact centre.
    address.keep({ tenant: e.target.value, team: "", service: "", q: "" }, "pushState");
    agents.clear();
    queues.clear();
    switchTenant(e.target.value);
  });
  // The picture of an earlier address is another one; a link within the page is not.
  addEventListener("popstate", () => address.isCurrent() || location.reload());

  live.open(tenant);
  setInterval(tick, 250);
}
