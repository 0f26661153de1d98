// The events, the newest first.

import { $, el, stored, setText, setAttr, show } from "./dom.js";
import { describe, groupOf, groups, shortType, timeOf } from "./text.js";

const inMemory = 3000; // in memory
const inList = 120; // in the document

export class Events {
  #all = []; // newest last
  #last = 0; // the sequence of the newest
  #on = new Set();
  #chips = new Map();
  #counts = {};
  #words = [];
  #dirty = false;
  #rebuild = true;
  #drawn = 0;
  #listed = 0; // the sequence up to which the document shows
  #following = true;
  #held = 0; // fitting events since following ended
  #rate = [];

  constructor() {
    this.list = $("events-list");
    const chosen = stored.get("events") ?? {};
    for (const [group, [name, first]] of Object.entries(groups)) {
      if (chosen[group] ?? first) this.#on.add(group);
      this.#chip(group, name);
    }
    $("events-text").addEventListener("input", () => this.#search());
    $("events-follow").addEventListener("click", () => this.#follow(!this.#following));
    // The text must not move while it is read.
    this.list.addEventListener("toggle", (e) => this.#opened(e.target), true);
    this.list.addEventListener("scroll", () => {
      if (this.list.scrollTop > 40 && this.#following && this.list.scrollHeight > this.list.clientHeight) this.#follow(false);
    }, { passive: true });
  }

  #chip(group, name) {
    const b = el("button", "chip");
    b.type = "button";
    b.append(el("span", "", name), el("span", "n"));
    setAttr(b, "aria-pressed", String(this.#on.has(group)));
    b.addEventListener("click", () => {
      if (!this.#on.delete(group)) this.#on.add(group);
      setAttr(b, "aria-pressed", String(this.#on.has(group)));
      stored.set("events", Object.fromEntries(Object.keys(groups).map((g) => [g, this.#on.has(g)])));
      this.#again();
    });
    this.#chips.set(group, b);
    $("events-types").append(b);
  }

  /** Show the events that contain a text, such as an agent's id. */
  find(text) {
    $("events-text").value = text;
    this.#search();
    $("events-text").focus();
  }

  #search() {
    this.#words = $("events-text").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    this.#again();
  }

  #again() {
    this.#rebuild = true;
    this.#dirty = true;
    this.#drawn = 0;
    if (!this.#following) this.#follow(true);
  }

  /** Add an event of the stream, unless it is there already. */
  add({ seq, event, backlog }) {
    if (seq <= this.#last) return;
    this.#last = seq;
    const type = shortType(event.type);
    const group = groupOf(type);
    this.#counts[group] = (this.#counts[group] ?? 0) + 1;
    const e = { seq, event, type, group };
    this.#all.push(e);
    if (this.#all.length > inMemory * 1.2) this.#all.splice(0, this.#all.length - inMemory);
    if (!backlog && group !== "checkpoint") this.#note();
    if (!this.#following && this.#fits(e)) this.#held++;
    this.#dirty = true;
  }

  #note() {
    const second = Math.floor(performance.now() / 1000);
    const last = this.#rate[this.#rate.length - 1];
    if (last?.[0] === second) last[1]++;
    else this.#rate.push([second, 1]);
    if (this.#rate.length > 20) this.#rate.shift();
  }

  /** Events a second, over the last ten whole ones. */
  rate() {
    const now = Math.floor(performance.now() / 1000);
    return this.#rate.reduce((sum, [s, n]) => (s < now && s >= now - 10 ? sum + n : sum), 0) / 10;
  }

  /** Remove all events, for another tenant. */
  clear() {
    this.#all = [];
    this.#last = this.#listed = 0;
    this.#counts = {};
    this.#again();
  }

  #fits(e) {
    if (!this.#on.has(e.group)) return false;
    if (this.#words.length === 0) return true;
    e.text ??= `${e.type} ${e.event.subject} ${describe(e.type, e.event).join(" ")} ${e.event.data?.agent?.team ?? ""} ${e.event.id}`.toLowerCase();
    return this.#words.every((w) => e.text.includes(w));
  }

  draw() {
    const now = performance.now();
    if (!this.#dirty || now - this.#drawn < 250) return;
    this.#drawn = now;
    this.#dirty = false;
    for (const [group, b] of this.#chips) {
      const n = this.#counts[group] ?? 0;
      show(b, n > 0 || group === "state");
      setText(b.lastChild, n > 9999 ? `${Math.floor(n / 1000)}k` : String(n));
    }
    if (!this.#following) {
      setText($("events-follow"), this.#held ? `Follow (${this.#held > 999 ? "999+" : this.#held} new)` : "Follow");
      return;
    }
    const fresh = [];
    for (let i = this.#all.length - 1; i >= 0 && fresh.length < inList; i--) {
      const e = this.#all[i];
      if (!this.#rebuild && e.seq <= this.#listed) break;
      if (this.#fits(e)) fresh.push(this.#item(e));
    }
    this.#listed = this.#last;
    if (this.#rebuild) this.list.replaceChildren(...fresh);
    else if (fresh.length) this.list.prepend(...fresh);
    this.#rebuild = false;
    while (this.list.children.length > inList) this.list.lastChild.remove();
    show($("events-empty"), this.list.children.length === 0);
  }

  #item(e) {
    const li = el("li", `g-${e.group} v-${e.type.split(".")[1]}`);
    const details = li.appendChild(el("details"));
    const summary = details.appendChild(el("summary"));
    const [who, what] = describe(e.type, e.event);
    const time = el("time", "", timeOf(Date.parse(e.event.time)));
    time.dateTime = e.event.time;
    summary.append(time, el("span", "type", e.type), el("span", "who", who), el("span", "what", what));
    details.entry = e;
    return li;
  }

  #opened(details) {
    if (!details.open) return;
    if (details.children.length === 1) {
      const pre = setAttr(el("pre", "", JSON.stringify(details.entry.event, null, 2)), "tabindex", "0");
      setAttr(setAttr(pre, "role", "region"), "aria-label", `JSON of event ${details.entry.event.id}, stream sequence ${details.entry.seq}`);
      details.append(pre);
    }
    this.#follow(false);
  }

  #follow(yes) {
    if (this.#following === yes) return;
    this.#following = yes;
    this.#held = 0;
    const b = $("events-follow");
    setAttr(b, "aria-pressed", String(yes));
    setText(b, yes ? "Following" : "Follow");
    if (!yes) return;
    this.list.scrollTop = 0;
    this.#rebuild = true;
    this.#dirty = true;
  }
}
