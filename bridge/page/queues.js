// Queues with their statistics and curves, totals, and raised thresholds.

import { sorts } from "./address.js";
import { DayChart } from "./day.js";
import { $, el, stored, setText, setAttr, show, Spark } from "./dom.js";
import { Level } from "./level.js";
import { byRank, number, opSign, statName, timeOf, value, words } from "./text.js";

const byName = new Intl.Collator().compare;
/** Current values get a curve; counters of the day only rise. */
const curved = (stat) => !/_per_day$|_threshold|_target|agents_logged/.test(stat);
const plain = (stat) => !["name", "service", "service_name"].includes(stat);
/** What has a curve in the table, which has no room for more beside the day. */
const narrowCurves = ["in_calls_waiting", "agents_busy"];
/** What a wall has room for. */
const onWall = ["in_calls_waiting", "in_max_wait_time", "service_level", "agents_busy"];

/** targetOf returns the target of a service level: that of the address, else the one that BPCC sends, if any. */
export const targetOf = (stats, given, scale) => given ?? scale.percent(stats.service_level_target);

/** sortQueues orders the names of queues by the value of ?sort=. */
export function sortQueues(names, order, view, scale) {
  const stat = (n, s) => number(view.services.get(n)?.after[s]);
  const down = (s) => (a, b) => (stat(b, s) || 0) - (stat(a, s) || 0);
  const alarms = new Map();
  for (const t of view.thresholds.values()) if (t.entity?.kind === "service") alarms.set(t.entity.id, (alarms.get(t.entity.id) ?? 0) + 1);
  const level = (n) => {
    const p = scale.percent(view.services.get(n)?.after.service_level);
    return Number.isNaN(p) ? Infinity : p;
  };
  const compare = {
    wait: (a, b) => down("in_max_wait_time")(a, b) || down("in_calls_waiting")(a, b),
    waiting: down("in_calls_waiting"),
    level: (a, b) => (level(a) === level(b) ? 0 : level(a) - level(b)),
    raised: (a, b) => (alarms.get(b) ?? 0) - (alarms.get(a) ?? 0) || down("in_calls_waiting")(a, b),
  }[order];
  return names.sort((a, b) => compare?.(a, b) || byName(a, b));
}

/** A statistic with its curve. */
class Figure {
  constructor(tag, stat, label, withCurve = curved(stat)) {
    this.stat = stat;
    this.node = el(tag, "figure");
    this.node.append(el("span", "label", label));
    this.text = this.node.appendChild(el("span", "value"));
    if (stat === "service_level") this.level = new Level(this.text);
    if (withCurve) {
      this.spark = new Spark();
      this.node.append(this.spark.node);
    }
  }

  draw(text, points, now, reach) {
    if (!this.level) setText(this.text, text);
    this.spark?.draw(points, now, reach);
  }
}

export class Queues {
  #view = null;
  #columns = [];
  #rows = new Map(); // service → {node, figures, …}
  #dirty = true;
  #drawn = 0;

  constructor({ now, series, scale, day, address }) {
    Object.assign(this, { now, series, scale, day, address });
    const order = $("queues-order");
    order.replaceChildren(...Object.entries(sorts).map(([v, name]) => new Option(name, v)));
    order.value = address.sort || (!address.describes && stored.get("queues")) || (address.wall ? "wait" : "name");
    if (!order.value) order.value = "name"; // stored by another version
    order.addEventListener("input", () => {
      stored.set("queues", order.value);
      address.keep({ sort: order.value });
      this.#dirty = true;
    });
    $("queues-text").value = address.service;
    $("queues-text").addEventListener("input", (e) => {
      address.keep({ service: e.target.value.trim() });
      this.#dirty = true;
    });
  }

  /** Show all queues, as those of another tenant. */
  clear() {
    $("queues-text").value = "";
  }

  update(view) {
    this.#view = view;
    this.#dirty = true;
  }

  draw() {
    // Curves move with the time, but slowly.
    const now = performance.now();
    if (!this.#view || (!this.#dirty && now - this.#drawn < 5000) || now - this.#drawn < 200) return;
    this.#drawn = now;
    this.#dirty = false;
    const names = [...new Set([...this.#view.services.keys(), ...this.#view.availability.keys()])];
    for (const { after } of this.#view.services.values()) {
      this.scale.see(after.service_level);
      this.scale.see(after.service_level_target);
    }
    this.#raised = new Map();
    for (const t of this.#view.thresholds.values()) {
      if (t.entity?.kind === "service") this.#raised.set(t.entity.id, [...(this.#raised.get(t.entity.id) ?? []), t]);
    }
    this.#head();
    this.#body(names);
    const minutes = Math.round(this.series.reach(this.now()) / 60e3);
    setText($("series-reach"), names.length ? `curves: last ${minutes === 1 ? "minute" : `${minutes} minutes`}` : "");
    const find = $("queues-text").value.trim();
    show($("queues-empty"), this.#rows.size === 0);
    setText($("queues-empty"), names.length ? `No queue has “${find}” in its name.` : "No queue is in the view.");
    show($("queues-search"), names.length > 8 || find !== "");
    const open = [...this.#view.availability.values()].filter((a) => a.available === true).length;
    const known = this.#view.availability.size;
    const count = this.#rows.size < names.length ? `${this.#rows.size} of ${names.length}` : String(names.length);
    setText($("queues-count"), known ? `${count}, ${open} with an agent available` : count);
  }

  #raised = new Map();
  #paired = false;

  #name(stat) {
    return this.#paired && stat === "agents_busy" ? "Busy / logged in" : statName(stat);
  }

  #head() {
    const all = new Set();
    for (const s of this.#view.services.values()) for (const stat in s.after) if (plain(stat)) all.add(stat);
    const columns = [...all].sort(byRank);
    // "7 / 15" is clearer than two columns.
    this.#paired = all.has("agents_busy") && all.has("agents_logged");
    if (this.#paired) columns.splice(columns.indexOf("agents_logged"), 1);
    const days = this.day.reach || "Day";
    const head = $("queues-scroll").querySelector("thead tr");
    if (columns.join() === this.#columns.join() && this.#rows.size) {
      setText(head.lastChild, days);
      return;
    }
    this.#columns = columns;
    head.replaceChildren(...["Queue", "Agent available", ...columns.map((c) => this.#name(c)), days].map((t) => setAttr(setAttr(el("th", "", t), "scope", "col"), "role", "columnheader")));
    columns.forEach((stat, i) => {
      head.children[i + 2].className = onWall.includes(stat) ? "num" : "num minor";
    });
    head.lastChild.className = "chart";
    for (const row of this.#rows.values()) row.node.remove();
    this.#rows.clear();
  }

  #body(names) {
    const find = $("queues-text").value.trim().toLowerCase();
    const shown = sortQueues(names.filter((n) => n.toLowerCase().includes(find)), $("queues-order").value, this.#view, this.scale);
    const body = $("queues-scroll").querySelector("tbody");
    for (const [name, row] of this.#rows) {
      if (shown.includes(name)) continue;
      row.node.remove();
      this.#rows.delete(name);
    }
    shown.forEach((name, i) => {
      let row = this.#rows.get(name);
      if (!row) this.#rows.set(name, (row = this.#row(name)));
      if (body.children[i] !== row.node) body.insertBefore(row.node, body.children[i] ?? null);
      this.#fill(row, name);
    });
  }

  #row(name) {
    // Roles of their own, for narrow pages lay the table out as cards.
    const node = setAttr(el("tr"), "role", "row");
    const title = setAttr(setAttr(el("th"), "scope", "row"), "role", "rowheader");
    title.append(el("span", "", name));
    const alarm = title.appendChild(el("span", "alarm"));
    const available = setAttr(el("td", "available"), "role", "cell");
    const glyph = setAttr(el("span", "glyph"), "aria-hidden", "true");
    const word = el("span", "word");
    available.append(glyph, word);
    node.append(title, available);
    const figures = this.#columns.map((stat) => {
      const f = new Figure("td", stat, this.#name(stat), narrowCurves.includes(stat));
      f.node.classList.add("num");
      if (!onWall.includes(stat)) f.node.classList.add("minor");
      setAttr(f.node, "role", "cell");
      node.append(f.node);
      return f;
    });
    const chart = new DayChart();
    const cell = setAttr(el("td", "chart"), "role", "cell");
    cell.append(el("span", "label"), chart.node);
    node.append(cell);
    return { node, figures, glyph, word, available, alarm, chart };
  }

  #fill(row, name) {
    const after = this.#view.services.get(name)?.after ?? {};
    const is = this.#view.availability.get(name);
    const [glyph, word, cls] = !is ? ["", "–", "none"] : is.available === true ? ["●", "Yes", "ready"] : is.available === false ? ["✕", "No", "away"] : ["?", "Unknown", "out"];
    setText(row.glyph, glyph);
    setText(row.word, word);
    const want = `available c-${cls}`;
    if (row.available.className !== want) row.available.className = want;
    const raised = this.#raised.get(name);
    setText(row.alarm, raised ? `▲ ${raised.map((t) => t.rule).join(", ")}` : "");
    row.node.classList.toggle("raised", Boolean(raised));
    for (const f of row.figures) {
      const text = value(f.stat, after[f.stat]) + (this.#paired && f.stat === "agents_busy" ? ` / ${value("", after.agents_logged)}` : "");
      f.draw(text, this.series.line(`service/${name}`, f.stat), this.now(), this.series.reach(this.now()));
      f.level?.draw(after.service_level, this.scale, targetOf(after, this.address.target, this.scale));
    }
    row.chart.draw(this.day, name);
    setText(row.chart.node.previousSibling, this.day.reach);
  }
}

/** The totals. */
export class Totals {
  #figures = new Map();
  #dirty = true;
  #drawn = 0;
  #view = null;

  constructor({ now, series, scale, address }) {
    Object.assign(this, { now, series, scale, address });
  }

  update(view) {
    this.#view = view;
    this.#dirty = true;
  }

  draw() {
    const now = performance.now();
    if (!this.#view || (!this.#dirty && now - this.#drawn < 5000) || now - this.#drawn < 200) return;
    this.#drawn = now;
    this.#dirty = false;
    const parent = $("totals");
    const several = this.#view.totals.size > 1;
    const wanted = new Set();
    for (const [app, { after }] of [...this.#view.totals].sort((a, b) => byName(a[0], b[0]))) {
      this.scale.see(after.service_level);
      for (const stat of Object.keys(after).sort(byRank)) {
        const key = `${app}/${stat}`;
        wanted.add(key);
        let f = this.#figures.get(key);
        if (!f) {
          this.#figures.set(key, (f = new Figure("div", stat, statName(stat))));
          parent.append(f.node);
        }
        setText(f.node.firstChild, several ? `${statName(stat)} (${app})` : statName(stat));
        f.draw(value(stat, after[stat]), this.series.line(`totals/${app}`, stat), this.now(), this.series.reach(this.now()));
        f.level?.draw(after.service_level, this.scale, targetOf(after, this.address.target, this.scale));
      }
    }
    for (const [key, f] of this.#figures) {
      if (wanted.has(key)) continue;
      f.node.remove();
      this.#figures.delete(key);
    }
    show(parent, wanted.size > 0);
  }
}

export const severityGlyphs = { critical: "⬣", warning: "▲", info: "■" };
export const severities = ["critical", "warning", "info"];

/** Raised thresholds, the most severe first. */
export class Thresholds {
  #view = null;
  #dirty = true;
  #drawn = 0;
  #rows = new Map();
  #most = 100;

  update(view) {
    this.#view = view;
    this.#dirty = true;
  }

  draw() {
    const now = performance.now();
    if (!this.#view || !this.#dirty || now - this.#drawn < 200) return;
    this.#drawn = now;
    this.#dirty = false;
    const all = [...this.#view.thresholds].sort(([, a], [, b]) => severities.indexOf(a.severity) - severities.indexOf(b.severity) || (a.pending_since ?? "").localeCompare(b.pending_since ?? ""));
    const list = $("thresholds-list");
    const shown = all.slice(0, this.#most);
    const keys = new Set(shown.map(([key]) => key));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.node.remove();
      this.#rows.delete(key);
    }
    shown.forEach(([key, t], i) => {
      let row = this.#rows.get(key);
      if (!row) this.#rows.set(key, (row = this.#row()));
      if (list.children[i] !== row.node) list.insertBefore(row.node, list.children[i] ?? null);
      this.#fill(row, t);
    });
    const n = all.length;
    setText($("thresholds-count"), n > shown.length ? `${n}, the first ${shown.length} shown` : n ? String(n) : "");
    show($("thresholds-empty"), n === 0);
    show(list, n > 0);
    setText($("thresholds-status"), n === 0 ? "No threshold is raised." : n === 1 ? "One threshold is raised." : `${n} thresholds are raised.`);
  }

  // The current statistics of an entity, where the page has them.
  #present(entity) {
    return { service: this.#view.services, totals: this.#view.totals }[entity?.kind]?.get(entity.id)?.after;
  }

  #row() {
    const node = el("li");
    const glyph = setAttr(el("span", "glyph"), "aria-hidden", "true");
    const row = { node, glyph, severity: el("span", "severity"), rule: el("strong"), what: el("span", "what"), since: el("span", "since") };
    node.append(glyph, row.severity, row.rule, row.what, row.since);
    return row;
  }

  #fill(row, t) {
    const cls = `s-${severities.includes(t.severity) ? t.severity : "info"}`;
    if (row.node.className !== cls) row.node.className = cls;
    setText(row.glyph, severityGlyphs[t.severity] ?? "■");
    setText(row.severity, words(t.severity ?? ""));
    setText(row.rule, t.rule);
    const was = value(t.stat, t.value);
    const is = value(t.stat, this.#present(t.entity)?.[t.stat] ?? t.value);
    const limit = `limit ${opSign(t.op)} ${value(t.stat, String(t.limit))}`;
    setText(row.what, `${t.entity?.id}: ${statName(t.stat).toLowerCase()} ${is} (${limit}${is === was ? "" : `; ${was} when raised`})`);
    setText(row.since, `since ${timeOf(Date.parse(t.pending_since))}`);
  }
}
