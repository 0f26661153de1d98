// Queues with their statistics and curves, totals, and raised thresholds.

import { $, el, stored, setText, setAttr, show, Spark } from "./dom.js";
import { byRank, number, opSign, statName, timeOf, value, words } from "./text.js";

const byName = new Intl.Collator().compare;
/** Current values get a curve; counters of the day only rise. */
const curved = (stat) => !/_per_day$|_threshold|_target|agents_logged/.test(stat);
const plain = (stat) => !["name", "service", "service_name"].includes(stat);

/** A statistic with its curve. */
class Figure {
  constructor(tag, stat, label) {
    this.stat = stat;
    this.node = el(tag, "figure");
    this.node.append(el("span", "label", label));
    this.text = this.node.appendChild(el("span", "value"));
    if (curved(stat)) {
      this.spark = new Spark();
      this.node.append(this.spark.node);
    }
  }

  draw(text, points, now, reach) {
    setText(this.text, text);
    this.spark?.draw(points, now, reach);
  }
}

export class Queues {
  #view = null;
  #columns = [];
  #rows = new Map(); // service → {node, figures, …}
  #dirty = true;
  #drawn = 0;

  constructor(now, series) {
    this.now = now;
    this.series = series;
    const order = $("queues-order");
    order.value = stored.get("queues") ?? "name";
    order.addEventListener("input", () => {
      stored.set("queues", order.value);
      this.#dirty = true;
    });
    $("queues-text").addEventListener("input", () => (this.#dirty = true));
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
    this.#raised = new Map();
    for (const t of this.#view.thresholds.values()) {
      if (t.entity?.kind === "service") this.#raised.set(t.entity.id, [...(this.#raised.get(t.entity.id) ?? []), t]);
    }
    this.#head();
    this.#body(names);
    const minutes = Math.round(this.series.reach(this.now()) / 60e3);
    setText($("series-reach"), names.length ? `curves: last ${minutes === 1 ? "minute" : `${minutes} minutes`}` : "");
    show($("queues-empty"), names.length === 0);
    show($("queues-search"), names.length > 8);
    const open = [...this.#view.availability.values()].filter((a) => a.available === true).length;
    const known = this.#view.availability.size;
    setText($("queues-count"), known ? `${names.length}, ${open} with an agent available` : String(names.length));
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
    if (columns.join() === this.#columns.join() && this.#rows.size) return;
    this.#columns = columns;
    const head = $("queues-scroll").querySelector("thead tr");
    head.replaceChildren(...["Queue", "Agent available", ...columns.map((c) => this.#name(c))].map((t) => setAttr(setAttr(el("th", "", t), "scope", "col"), "role", "columnheader")));
    [...head.children].forEach((th, i) => {
      if (i > 1) th.classList.add("num");
    });
    for (const row of this.#rows.values()) row.node.remove();
    this.#rows.clear();
  }

  #body(names) {
    const find = $("queues-search").hidden ? "" : $("queues-text").value.trim().toLowerCase();
    const waiting = (n) => number(this.#view.services.get(n)?.after.in_calls_waiting) || 0;
    const alarms = (n) => this.#raised.get(n)?.length ?? 0;
    const order = $("queues-order").value;
    const shown = names.filter((n) => n.toLowerCase().includes(find)).sort((a, b) =>
      (order === "waiting" ? waiting(b) - waiting(a) : order === "raised" ? alarms(b) - alarms(a) || waiting(b) - waiting(a) : 0) || byName(a, b));
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
      const f = new Figure("td", stat, this.#name(stat));
      f.node.classList.add("num");
      setAttr(f.node, "role", "cell");
      node.append(f.node);
      return f;
    });
    return { node, figures, glyph, word, available, alarm };
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
    }
  }
}

/** The totals. */
export class Totals {
  #figures = new Map();
  #dirty = true;
  #drawn = 0;
  #view = null;

  constructor(now, series) {
    this.now = now;
    this.series = series;
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

const glyphs = { critical: "⬣", warning: "▲", info: "■" };
const severities = ["critical", "warning", "info"];

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
    setText(row.glyph, glyphs[t.severity] ?? "■");
    setText(row.severity, words(t.severity ?? ""));
    setText(row.rule, t.rule);
    const was = value(t.stat, t.value);
    const is = value(t.stat, this.#present(t.entity)?.[t.stat] ?? t.value);
    const limit = `limit ${opSign(t.op)} ${value(t.stat, String(t.limit))}`;
    setText(row.what, `${t.entity?.id}: ${statName(t.stat).toLowerCase()} ${is} (${limit}${is === was ? "" : `; ${was} when raised`})`);
    setText(row.since, `since ${timeOf(Date.parse(t.pending_since))}`);
  }
}
