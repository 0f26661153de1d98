// Agents: how many are in which state, and a list that holds thousands.

import { orders, States } from "./address.js";
import { $, el, stored, setText, setAttr, show } from "./dom.js";
import { clock, stateColour, stateGlyph, stateOrder, stateWord } from "./text.js";

const byName = new Intl.Collator().compare;
const extra = 6; // rows beyond each end of the visible ones

export class Agents {
  #view = null;
  #states; // those that the list shows
  #bars = new Map(); // state → its button
  #shown = []; // the agents of the list, in order
  #rows = []; // elements, reused
  #active = -1; // the row that the arrow keys have reached
  #dirty = true;
  #teams = "";
  #last = 0;

  /** onPick is called with an agent whose events the reader wants; tiles show the same agents on a wall. */
  constructor({ now, onPick, address, tiles }) {
    Object.assign(this, { now, onPick, address, tiles });
    this.#states = address.states ?? new States(null, (!address.describes && stored.get("states")) || ["logged_out"]);
    $("agents-text").value = address.q;
    this.#wantTeam(address.team);
    $("agents-order").replaceChildren(...Object.entries(orders).map(([v, name]) => new Option(name, v)));
    $("agents-order").value = address.order;
    this.grid = $("agents-grid");
    this.body = $("agents-rows");
    const again = () => {
      this.#dirty = true;
      this.#last = 0;
      this.draw();
    };
    for (const id of ["agents-text", "agents-team", "agents-order"]) {
      $(id).addEventListener("input", () => {
        const order = $("agents-order").value;
        address.keep({ q: $("agents-text").value.trim(), team: $("agents-team").value, order: order === "name" ? "" : order });
        again();
      });
    }
    this.again = again;
    this.grid.addEventListener("scroll", () => this.#lay(), { passive: true });
    new ResizeObserver(() => this.#lay()).observe(this.grid);
    this.grid.addEventListener("keydown", (e) => this.#key(e));
    this.body.addEventListener("click", (e) => {
      const row = e.target.closest(".row");
      if (row) this.#activate(Number(row.dataset.at));
    });
    this.body.addEventListener("dblclick", () => this.#pick());
  }

  /** Show agents of all teams, as those of another tenant. */
  clear() {
    $("agents-text").value = "";
    this.#wantTeam("");
  }

  // Choose a team, whether there are agents of it or not.
  #wantTeam(team) {
    const select = $("agents-team");
    if (![...select.options].some((o) => o.value === team)) select.add(new Option(team, team));
    select.value = team;
    this.#teams = "";
  }

  /** What the reader has asked for and is not there, in sentences. */
  faults() {
    if (!this.#view || !this.#states.only) return [];
    const known = [...stateOrder, "logged_out", ...this.#bars.keys()];
    return [...this.#states.only].filter((s) => !known.includes(s)).map((s) => `No agent is in the state “${s}”. States are ${known.filter((s, i) => known.indexOf(s) === i).join(", ")}.`);
  }

  /** Show a view, of which the agents may have changed. */
  update(view) {
    this.#view = view;
    this.#dirty = true;
  }

  /** Draw what has changed; called once a frame at most. */
  draw() {
    const now = performance.now();
    // Sorting thousands is expensive: do it a few times a second.
    if (!this.#view || !this.#dirty || now - this.#last < 200) return;
    this.#last = now;
    this.#dirty = false;
    const agents = [...this.#view.agents.values()];
    this.#count(agents);
    this.#listTeams(agents);
    this.#choose(agents);
    this.#lay();
  }

  /** Update the clocks of the rows. */
  tick() {
    const now = this.now();
    for (const row of this.#rows) if (!row.hidden) this.#time(row, this.#shown[row.at], now);
    this.tiles?.tick(now);
  }

  #count(agents) {
    const counts = new Map([...stateOrder.slice(0, 4), "logged_out"].map((s) => [s, 0]));
    for (const a of agents) counts.set(a.state, (counts.get(a.state) ?? 0) + 1);
    const place = (s) => (s === "logged_out" ? 99 : stateOrder.indexOf(s) + 1 || 50);
    const states = [...counts.keys()].sort((a, b) => place(a) - place(b) || byName(a, b));
    const most = Math.max(1, ...counts.values());
    const parent = $("agents-states");
    states.forEach((s, i) => {
      let b = this.#bars.get(s);
      if (!b) this.#bars.set(s, (b = this.#bar(s)));
      if (parent.children[i] !== b.node) parent.insertBefore(b.node, parent.children[i] ?? null);
      const n = counts.get(s);
      setText(b.count, String(n));
      const width = `${((n / most) * 100).toFixed(1)}%`;
      if (b.fill.style.width !== width) b.fill.style.width = width;
    });
    for (const [s, b] of this.#bars) {
      if (counts.has(s)) continue;
      b.node.remove();
      this.#bars.delete(s);
    }
    this.counted = agents.length;
  }

  #bar(state) {
    const node = el(this.tiles ? "span" : "button", `bar c-${stateColour(state)}`); // a wall has no controls
    const glyph = el("span", "glyph", stateGlyph(state));
    setAttr(glyph, "aria-hidden", "true");
    const count = el("span", "n");
    const track = el("span", "track");
    const fill = track.appendChild(el("span", "fill"));
    setAttr(track, "aria-hidden", "true");
    node.append(glyph, el("span", "word", stateWord(state)), count, track);
    if (this.tiles) return { node, count, fill };
    node.type = "button";
    setAttr(node, "aria-pressed", String(this.#states.has(state)));
    node.addEventListener("click", () => {
      this.#states.toggle(state);
      setAttr(node, "aria-pressed", String(this.#states.has(state)));
      if (!this.#states.only) stored.set("states", [...this.#states.hidden]);
      this.address.keep({ state: this.#states.toString() });
      this.again();
    });
    return { node, count, fill };
  }

  #listTeams(agents) {
    const teams = [...new Set(agents.map((a) => a.team).filter(Boolean))].sort(byName);
    const key = teams.join("\n");
    if (key === this.#teams) return;
    this.#teams = key;
    const select = $("agents-team");
    const chosen = select.value;
    select.replaceChildren(new Option("all", ""), ...teams.map((t) => new Option(t, t)));
    this.#wantTeam(chosen);
    this.#teams = key;
  }

  #choose(agents) {
    const wanted = $("agents-text").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const team = $("agents-team").value;
    const order = $("agents-order").value;
    const active = this.#shown[this.#active]?.key;
    this.#shown = agents.filter((a) => this.#states.has(a.state) && (!team || a.team === team) && wanted.every((w) => a.find.includes(w)));
    const since = (a) => (Number.isNaN(a.since) ? Infinity : a.since);
    if (order === "longest") this.#shown.sort((a, b) => since(a) - since(b) || byName(a.name, b.name));
    else if (order === "newest") this.#shown.sort((a, b) => (since(b) === Infinity ? 0 : since(b)) - (since(a) === Infinity ? 0 : since(a)) || byName(a.name, b.name));
    else this.#shown.sort((a, b) => byName(a.name, b.name));
    // The active row stays with its agent.
    this.#active = active ? this.#shown.findIndex((a) => a.key === active) : -1;
    const n = this.#shown.length;
    setText($("agents-count"), n === agents.length ? String(n) : `${n} of ${agents.length}`);
    setAttr(this.grid, "aria-rowcount", String(n + 1));
    show($("agents-empty"), n === 0);
    setText($("agents-empty"), !agents.length ? "No agent is in the view." : team && !agents.some((a) => a.team === team) ? `No agent is in the team “${team}”.` : "No agent matches.");
    this.tiles?.draw(this.#shown, this.now());
  }

  // Lay out only the rows that are visible.
  #lay() {
    const height = this.#height();
    const total = this.#shown.length * height;
    const size = `${total}px`;
    if (this.body.style.height !== size) this.body.style.height = size;
    const first = Math.max(0, Math.floor(this.grid.scrollTop / height) - extra);
    const last = Math.min(this.#shown.length, Math.ceil((this.grid.scrollTop + this.grid.clientHeight) / height) + extra);
    while (this.#rows.length < last - first) this.#rows.push(this.#row());
    const now = this.now();
    this.#rows.forEach((row, i) => {
      const at = first + i;
      show(row.node, at < last);
      row.hidden = at >= last;
      if (!row.hidden) this.#fill(row, at, this.#shown[at], height, now);
    });
    setAttr(this.grid, "aria-activedescendant", this.#active >= first && this.#active < last ? `agent-row-${this.#active - first}` : null);
  }

  #height() {
    return parseFloat(getComputedStyle(this.grid).getPropertyValue("--row")) || 32;
  }

  #row() {
    const node = el("div", "row");
    node.id = `agent-row-${this.#rows.length}`;
    setAttr(node, "role", "row");
    const cells = ["name", "state", "for", "team"].map((c) => {
      const cell = el("span", c);
      setAttr(cell, "role", "gridcell");
      node.append(cell);
      return cell;
    });
    const glyph = el("span", "glyph");
    setAttr(glyph, "aria-hidden", "true");
    const word = el("span", "word");
    cells[1].append(glyph, word);
    this.body.append(node);
    return { node, cells, glyph, word };
  }

  #fill(row, at, a, height, now) {
    const { node, cells } = row;
    row.at = at;
    if (row.y !== at * height) {
      row.y = at * height;
      node.style.transform = `translateY(${row.y}px)`;
    }
    node.dataset.at = at;
    setAttr(node, "aria-rowindex", String(at + 2));
    const cls = `row c-${stateColour(a.state)}${at === this.#active ? " active" : ""}`;
    if (node.className !== cls) node.className = cls;
    setAttr(node, "aria-selected", String(at === this.#active));
    setText(cells[0], a.name);
    if (row.title !== a.id) node.title = row.title = a.id;
    setText(row.glyph, stateGlyph(a.state));
    setText(row.word, stateWord(a.state) + (a.reason ? `, ${a.reason}` : "") + (a.next ? `, then ${stateWord(a.next).toLowerCase()}` : ""));
    setText(cells[3], a.team);
    this.#time(row, a, now);
  }

  #time(row, a, now) {
    if (a) setText(row.cells[2], Number.isNaN(a.since) ? "" : clock((now - a.since) / 1000));
  }

  #key(e) {
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.#height()) - 2);
    const end = this.#shown.length - 1;
    const to = { ArrowDown: this.#active + 1, ArrowUp: this.#active - 1, PageDown: this.#active + page, PageUp: this.#active - page, Home: 0, End: end }[e.key];
    if (to !== undefined && end >= 0) this.#activate(Math.min(end, Math.max(0, to)));
    else if (e.key === "Enter") this.#pick();
    else if (e.key === "Escape") this.#activate(-1);
    else return;
    e.preventDefault();
  }

  #activate(at) {
    this.#active = at;
    const height = this.#height();
    const head = this.grid.firstElementChild.offsetHeight;
    const room = this.grid.clientHeight - head;
    if (at >= 0 && at * height < this.grid.scrollTop) this.grid.scrollTop = at * height;
    else if (at >= 0 && (at + 1) * height > this.grid.scrollTop + room) this.grid.scrollTop = (at + 1) * height - room;
    this.#lay();
  }

  #pick() {
    const a = this.#shown[this.#active];
    if (a) this.onPick(a);
  }
}
