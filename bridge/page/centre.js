// One of several contact centres side by side: its feed, figures, raised thresholds and queues.

import { el, setAttr, setText, show } from "./dom.js";
import { feedGlyphs, judge } from "./feed.js";
import { Level, Scale } from "./level.js";
import { Raises } from "./notices.js";
import { severities, severityGlyphs, sortQueues, targetOf } from "./queues.js";
import { ago, stateColour, stateGlyph, stateOrder, stateWord, statName, untoken, value, words } from "./text.js";
import { View } from "./view.js";
import { fitRows } from "./wall.js";

const figures = ["in_calls_waiting", "in_max_wait_time", "service_level"];
const mostQueues = 40;
const mostRaised = 4;

export class Centre {
  connected = false;
  error = "";
  failures = 0;
  #view = new View();
  #next = null;
  #everReady = false;
  #staleAfter = Infinity;
  #scale = new Scale();
  #raises;
  #figures = new Map();
  #states = new Map();
  #rows = new Map();
  #dirty = true;
  #drawn = 0;

  constructor(tenant, live, address, notifier) {
    Object.assign(this, { tenant, live, address });
    this.#raises = new Raises(notifier);
    this.node = el("section", "centre");
    const title = setAttr(el("h2"), "id", `centre-${tenant}`);
    this.title = title.appendChild(el("a", "", untoken(tenant)));
    this.title.href = address.with({ tenants: "", tenant });
    setAttr(this.node, "aria-labelledby", title.id);
    this.status = setAttr(el("p", "status"), "role", "status");
    this.glyph = setAttr(el("span", "glyph"), "aria-hidden", "true");
    this.word = el("span");
    this.status.append(this.glyph, this.word);
    this.seen = el("span", "soft");
    const head = el("header");
    head.append(title, this.status, this.seen);
    this.why = el("p", "why");
    this.body = el("div", "body");
    this.figures = el("div", "figures");
    this.states = el("p", "states");
    this.raised = el("ul", "raised");
    this.table = el("table");
    const row = this.table.createTHead().insertRow();
    for (const name of ["Queue", "Waiting", "Longest wait", "Service level"]) row.append(setAttr(el("th", name === "Queue" ? "" : "num", name), "scope", "col"));
    this.queues = this.table.createTBody();
    this.box = el("div", "box");
    this.box.append(this.table);
    this.left = el("p", "soft");
    this.body.append(this.figures, this.states, this.raised, this.box, this.left);
    this.node.append(head, this.why, this.body);
    new ResizeObserver(() => (this.#dirty = true)).observe(this.node);
  }

  now() {
    return this.live.now();
  }

  /** Take one event of the tenant. */
  take(name, v) {
    switch (name) {
      case "hello":
        this.#next = new View();
        this.#next.interrupted = v.interrupted?.data ?? null;
        this.#staleAfter = v.stale_after_seconds * 1000;
        break;
      case "snapshot":
      case "events":
        for (const e of v) if (!e.backlog) (this.#next ?? this.#view).apply(e);
        this.#dirty = true;
        break;
      case "ready":
        this.#view = this.#next ?? this.#view;
        this.#next = null;
        this.#everReady = this.connected = this.#dirty = true;
        this.error = "";
        break;
      case "heartbeat":
        if (this.#view.applyFeed(v.feed)) this.#dirty = true;
        break;
      case "failure":
        this.lose(v.error);
        break;
    }
  }

  /** The connection to this tenant's data is lost. */
  lose(why) {
    this.connected = false;
    this.error = why || this.error;
    this.failures++;
  }

  /** Show how fresh the data is, and what is raised. */
  tick() {
    const verdict = judge({ live: this, view: this.#view, staleAfter: this.#staleAfter, everReady: this.#everReady });
    const isLive = verdict.state === "live";
    setAttr(this.node, "data-feed", verdict.state);
    setText(this.title, this.#view.feed?.tenant ?? untoken(this.tenant));
    setText(this.glyph, feedGlyphs[verdict.state]);
    setText(this.word, verdict.word);
    setText(this.seen, verdict.age === null ? "" : `observed ${ago(verdict.age)}`);
    show(this.why, Boolean(verdict.why));
    setText(this.why, verdict.why);
    if (this.#everReady) this.#raises.look(this.#view, isLive, this.now(), this.title.textContent);
    return verdict;
  }

  draw() {
    const now = performance.now();
    if (!this.#dirty || now - this.#drawn < 300) return;
    this.#drawn = now;
    this.#dirty = false;
    const view = this.#view;
    for (const { after } of [...view.services.values(), ...view.totals.values()]) {
      this.#scale.see(after.service_level);
      this.#scale.see(after.service_level_target);
    }
    this.#drawFigures([...view.totals].sort(([a], [b]) => a.localeCompare(b)));
    this.#drawStates([...view.agents.values()]);
    this.#drawRaised([...view.thresholds.values()]);
    this.#drawQueues([...view.services.keys()]);
  }

  #drawFigures(totals) {
    const wanted = new Set();
    for (const [app, { after }] of totals) {
      for (const stat of figures.filter((s) => after[s] !== undefined)) {
        const key = `${app}/${stat}`;
        wanted.add(key);
        let f = this.#figures.get(key);
        if (!f) {
          f = { node: el("div", "figure"), label: el("span", "label"), value: el("span", "value") };
          f.node.append(f.label, f.value);
          if (stat === "service_level") f.level = new Level(f.value);
          this.figures.append(f.node);
          this.#figures.set(key, f);
        }
        setText(f.label, totals.length > 1 ? `${statName(stat)} (${app})` : statName(stat));
        if (f.level) f.level.draw(after[stat], this.#scale, targetOf(after, this.address.target, this.#scale));
        else setText(f.value, value(stat, after[stat]));
      }
    }
    for (const [key, f] of this.#figures) {
      if (wanted.has(key)) continue;
      f.node.remove();
      this.#figures.delete(key);
    }
  }

  #drawStates(agents) {
    const counts = new Map(stateOrder.slice(0, 4).map((s) => [s, 0]));
    for (const a of agents) if (a.state !== "logged_out") counts.set(a.state, (counts.get(a.state) ?? 0) + 1);
    for (const [s, n] of counts) {
      let b = this.#states.get(s);
      if (!b) {
        b = { node: el("span", `count-of c-${stateColour(s)}`), n: el("span", "n") };
        b.node.append(setAttr(el("span", "glyph", stateGlyph(s)), "aria-hidden", "true"), el("span", "word", stateWord(s)), b.n);
        this.#states.set(s, b);
        this.states.append(b.node, " ");
      }
      setText(b.n, String(n));
    }
    for (const [s, b] of this.#states) if (!counts.has(s)) setText(b.n, "0");
  }

  #drawRaised(all) {
    all.sort((a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity) || b.at - a.at);
    const shown = all.slice(0, mostRaised).map((t) => {
      const li = el("li", `s-${severities.includes(t.severity) ? t.severity : "info"}`);
      li.append(setAttr(el("span", "glyph", severityGlyphs[t.severity] ?? "■"), "aria-hidden", "true"), el("span", "severity", words(t.severity ?? "")),
        el("strong", "", t.rule), el("span", "what", `${t.entity?.id}: ${statName(t.stat).toLowerCase()} ${value(t.stat, t.value)}`));
      return li;
    });
    if (all.length > shown.length) shown.push(el("li", "soft", `${all.length - shown.length} more raised`));
    if (!all.length) shown.push(el("li", "soft", "No threshold is raised."));
    this.raised.replaceChildren(...shown);
  }

  #drawQueues(names) {
    const find = this.address.service.toLowerCase();
    const fitting = sortQueues(names.filter((n) => n.toLowerCase().includes(find)), this.address.sort || "wait", this.#view, this.#scale);
    const shown = fitting.slice(0, mostQueues);
    for (const [name, row] of this.#rows) {
      if (shown.includes(name)) continue;
      row.node.remove();
      this.#rows.delete(name);
    }
    const raised = new Set([...this.#view.thresholds.values()].filter((t) => t.entity?.kind === "service").map((t) => t.entity.id));
    shown.forEach((name, i) => {
      let row = this.#rows.get(name);
      if (!row) {
        row = { node: el("tr"), waiting: el("td", "num"), longest: el("td", "num"), level: el("td", "num") };
        row.node.append(setAttr(el("th", "", name), "scope", "row"), row.waiting, row.longest, row.level);
        row.draw = new Level(row.level);
        this.#rows.set(name, row);
      }
      if (this.queues.children[i] !== row.node) this.queues.insertBefore(row.node, this.queues.children[i] ?? null);
      const after = this.#view.services.get(name)?.after ?? {};
      row.node.classList.toggle("raised", raised.has(name));
      setText(row.waiting, value("in_calls_waiting", after.in_calls_waiting));
      setText(row.longest, value("in_max_wait_time", after.in_max_wait_time));
      row.draw.draw(after.service_level, this.#scale, targetOf(after, this.address.target, this.#scale));
    });
    const left = fitting.length - shown.length + (this.address.wall ? this.#fit(shown.length) : 0);
    show(this.table, fitting.length > 0);
    setText(this.left, left > 0 ? `${left} more queues` : !fitting.length ? (names.length ? `No queue has “${this.address.service}” in its name.` : "No queue is in the view.") : "");
  }
  #fitted = "";
  #hidden = 0; // rows

  // Fit the queues into the wall, again only when something may have changed it.
  #fit(rows) {
    const shape = [rows, this.box.clientWidth, this.box.clientHeight].join();
    if (shape !== this.#fitted) {
      this.#fitted = shape;
      this.#hidden = fitRows(this.box, this.queues.children);
    } else [...this.queues.children].forEach((row, i) => (row.hidden = i >= rows - this.#hidden));
    return this.#hidden;
  }
}
