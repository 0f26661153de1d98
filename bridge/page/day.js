// The day of each queue: its waiting calls and its service level, from the stream.

import { setAttr } from "./dom.js";
import { percentText } from "./level.js";
import { hourOf } from "./text.js";

const everyMs = 60_000; // between two readings
const shortest = 3600e3; // a chart covers this at least
const height = 24;
const svg = "http://www.w3.org/2000/svg";

/** The history of one tenant, which it reads again every minute. */
export class Day {
  #queues = new Map(); // name → [[ms, peak, last, level], …]
  #doc = null;
  #first = Infinity; // when the history really begins
  #until = NaN;
  #timer = 0;
  #tenant = null;
  version = 0; // rises with each reading

  /** onRead is called after each reading; seen returns until when the source was seen, Infinity while the feed is live. */
  constructor(scale, onRead, seen) {
    Object.assign(this, { scale, onRead, seen });
  }

  /** Read the history of a tenant, and go on. */
  open(tenant) {
    clearTimeout(this.#timer);
    if (tenant !== this.#tenant) this.#take(null);
    this.#tenant = tenant;
    this.#read(tenant);
  }

  async #read(tenant) {
    let doc = null;
    try {
      const r = await fetch(`live/history?tenant=${encodeURIComponent(tenant)}`);
      if (r.ok) doc = await r.json();
    } catch {
      // The page says itself that the bridge is not connected.
    }
    if (tenant !== this.#tenant) return;
    if (doc) this.#take(doc);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(tenant), doc ? everyMs : everyMs / 6);
    this.onRead();
  }

  #take(doc) {
    this.#doc = doc;
    this.version++;
    this.#until = Math.min(Date.parse(doc?.until), this.seen());
    this.#first = Infinity;
    this.#queues.clear();
    const begin = Date.parse(doc?.from);
    for (const name in doc?.queues) {
      const points = doc.queues[name].map(([slot, peak, last, level]) => [begin + slot * doc.step_seconds * 1000, peak, last, level]);
      for (const p of points) this.scale.see(p[3]);
      this.#queues.set(name, points);
      this.#first = Math.min(this.#first, points[0]?.[0] ?? Infinity);
    }
  }

  /** The beginning of the charts: midnight here, or later if the history begins later. */
  get from() {
    const until = this.until;
    return Math.min(Math.max(this.#first, new Date(until).setHours(0, 0, 0, 0)), until - shortest);
  }

  /** The end of the charts: after it nothing was seen. */
  get until() {
    return this.#until;
  }

  /** What the charts show, in words; "" if there are none yet. */
  get reach() {
    if (!this.#doc) return "";
    const left = this.#doc.queues_left_out;
    const span = this.#until < Date.parse(this.#doc.until) ? `Day ${hourOf(this.from)} to ${hourOf(this.until)}` : `Day since ${hourOf(this.from)}`;
    return `${span}${this.#doc.shortened ? ", no further back: too many events" : ""}${left ? `; ${left} more queues have no chart` : ""}`;
  }

  /** What the chart of a queue shows; null if there is nothing. */
  of(name) {
    const points = this.#queues.get(name);
    if (!this.#doc || !points?.length) return null;
    return {
      points, from: this.from, until: this.until, step: this.#doc.step_seconds * 1000,
      raised: this.#doc.raised.filter((m) => m.entity.id === name).map((m) => [Date.parse(m.from), Math.min(Date.parse(m.until ?? this.#doc.until), this.until), m]),
      gaps: this.#doc.gaps.map((g) => g.map((t) => Date.parse(t))),
    };
  }
}

const shape = (parent, tag, cls) => {
  const n = document.createElementNS(svg, tag);
  n.setAttribute("class", cls);
  parent.append(n);
  return n;
};

/** The chart of one queue. */
export class DayChart {
  #version = -1;

  constructor() {
    this.node = document.createElementNS(svg, "svg");
    for (const [k, v] of [["class", "day"], ["viewBox", `0 0 100 ${height}`], ["preserveAspectRatio", "none"], ["role", "img"], ["focusable", "false"]]) this.node.setAttribute(k, v);
    this.gaps = shape(this.node, "path", "gap");
    this.area = shape(this.node, "path", "area");
    this.line = shape(this.node, "path", "line");
    this.level = shape(this.node, "path", "level");
    this.raised = shape(this.node, "path", "mark");
  }

  draw(day, name) {
    if (this.#version === day.version) return;
    this.#version = day.version;
    const data = day.of(name);
    if (!data) {
      for (const p of [this.gaps, this.area, this.line, this.level, this.raised]) setAttr(p, "d", "");
      setAttr(this.node, "aria-label", "No history");
      return;
    }
    const { from, until } = data;
    const x = (ms) => Math.min(100, Math.max(0, ((ms - from) / (until - from)) * 100)).toFixed(2);
    const steps = stepsOf(data);
    const top = Math.max(1, ...steps.map(([, peak]) => peak ?? 0));
    const y = (n) => (height - 0.5 - (n / top) * (height - 5)).toFixed(1);
    let [line, area, level] = ["", "", ""];
    let open = false;
    let levelOpen = false;
    steps.forEach(([at, peak, text], i) => {
      const [a, b] = [x(at), x(steps[i + 1]?.[0] ?? until)];
      if (peak === null) open = false;
      else {
        line += `${open ? "" : `M${a} ${y(peak)}`}H${a}V${y(peak)}H${b}`;
        area += `M${a} ${height}V${y(peak)}H${b}V${height}Z`;
        open = true;
      }
      const percent = day.scale.percent(text);
      if (Number.isNaN(percent)) levelOpen = false;
      else {
        const at = (height - 0.5 - (Math.min(100, percent) / 100) * (height - 5)).toFixed(1);
        level += `${levelOpen ? "" : `M${a} ${at}`}H${a}V${at}H${b}`;
        levelOpen = true;
      }
    });
    setAttr(this.line, "d", line);
    setAttr(this.area, "d", area);
    setAttr(this.level, "d", level);
    setAttr(this.gaps, "d", data.gaps.filter(([, b]) => b > from).map(([a, b]) => `M${x(a)} 0H${x(b)}V${height}H${x(a)}Z`).join(""));
    const raised = data.raised.filter(([, b]) => b > from);
    setAttr(this.raised, "d", raised.map(([a, b]) => `M${x(a)} 0.5H${Math.max(Number(x(b)), Number(x(a)) + 1.2).toFixed(2)}V3.5H${x(a)}Z`).join(""));
    this.#describe(day, data, steps, raised);
  }

  // What the chart shows, in words, for those who do not see it and for the pointer.
  #describe(day, { from }, steps, raised) {
    const busiest = steps.reduce((a, b) => ((b[1] ?? -1) > (a[1] ?? -1) ? b : a), [0, null]);
    const levels = steps.map(([, , text]) => day.scale.percent(text)).filter((n) => !Number.isNaN(n));
    const text = [
      `Since ${hourOf(from)}`,
      busiest[1] === null ? "waiting calls not known" : busiest[1] === 0 ? "no call waited" : `at most ${busiest[1]} waiting, at ${hourOf(busiest[0])}`,
      levels.length ? `service level from ${percentText(Math.min(...levels))} to ${percentText(Math.max(...levels))}` : "",
      raised.length ? `thresholds raised: ${raised.slice(0, 5).map(([a, , m]) => `${m.rule} at ${hourOf(a)}`).join(", ")}${raised.length > 5 ? ` and ${raised.length - 5} more` : ""}` : "no threshold raised",
    ].filter(Boolean).join("; ");
    if (this.node.getAttribute("aria-label") === text) return;
    setAttr(this.node, "aria-label", text);
    this.node.querySelector("title")?.remove();
    const title = document.createElementNS(svg, "title");
    title.textContent = text;
    this.node.prepend(title);
  }
}

// The steps of a chart: [ms, most waiting, service level]. In a slot it is the peak, after it what was left.
function stepsOf({ points, from, until, step }) {
  const out = [];
  points.forEach(([at, peak, last, level], i) => {
    const next = points[i + 1]?.[0] ?? Infinity;
    if (at + step > from) out.push([Math.max(at, from), peak, level]);
    if (next > at + step && at + step < until && next > from) out.push([Math.max(at + step, from), last, level]);
  });
  return out;
}
