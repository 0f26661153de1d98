// What a wall needs: agents as tiles, and sizes that fit the screen without scrolling.

import { $, el, setAttr, setText } from "./dom.js";
import { clock, stateColour, stateGlyph, stateWord } from "./text.js";

const smallest = 0.62; // rem, of the name on a tile
const largest = 1.7;

/** Agents as tiles, as large as the room allows. */
export class Tiles {
  #tiles = [];
  #agents = [];
  #shown = 0;
  #size = "";

  constructor() {
    this.node = $("agents-tiles");
    this.node.hidden = false;
    new ResizeObserver(() => this.#lay()).observe(this.node);
  }

  draw(agents, now) {
    this.#agents = agents;
    this.#lay();
    this.tick(now);
  }

  #lay() {
    const { clientWidth: width, clientHeight: high } = this.node;
    if (!width || !high) return;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const n = Math.max(1, this.#agents.length);
    // A tile is two lines high, and as wide as a name of some 15 letters.
    const fit = (columns) => {
      const rows = Math.ceil(n / columns);
      return { columns, rows, font: Math.min(largest * rem, high / rows / 3.1, width / columns / 12) };
    };
    let best = fit(1);
    for (let columns = 2; columns <= 24; columns++) if (fit(columns).font > best.font) best = fit(columns);
    if (best.font < smallest * rem) {
      const font = smallest * rem;
      best = { columns: Math.max(1, Math.floor(width / (font * 12))), rows: Math.max(1, Math.floor(high / (font * 3.1))), font };
    }
    const size = `${best.columns} ${best.rows} ${best.font.toFixed(1)}`;
    if (size !== this.#size) {
      this.#size = size;
      this.node.style.gridTemplateColumns = `repeat(${best.columns}, minmax(0, 1fr))`;
      this.node.style.gridAutoRows = `minmax(0, ${(best.font * 3.6).toFixed(1)}px)`;
      this.node.style.fontSize = `${best.font.toFixed(1)}px`;
    }
    this.#shown = Math.min(this.#agents.length, best.columns * best.rows);
    while (this.#tiles.length < this.#shown) this.#tiles.push(this.#tile());
    this.#tiles.forEach((t, i) => {
      t.node.hidden = i >= this.#shown;
      if (i < this.#shown) this.#fill(t, this.#agents[i]);
    });
    const left = this.#agents.length - this.#shown;
    setText($("agents-left"), left > 0 ? `${left} more have no room: choose a team or states in the address` : "");
  }

  #tile() {
    const node = setAttr(el("li", "tile"), "role", "listitem");
    const name = el("span", "name");
    const glyph = setAttr(el("span", "glyph"), "aria-hidden", "true");
    const word = el("span", "word");
    const time = el("span", "for");
    const line = el("span", "state");
    line.append(glyph, word, time);
    node.append(name, line);
    this.node.append(node);
    return { node, name, glyph, word, time };
  }

  #fill(t, a) {
    const cls = `tile c-${stateColour(a.state)}`;
    if (t.node.className !== cls) t.node.className = cls;
    setText(t.name, a.name);
    setText(t.glyph, stateGlyph(a.state));
    setText(t.word, a.reason || stateWord(a.state));
  }

  /** Update the clocks. */
  tick(now) {
    for (let i = 0; i < this.#shown; i++) {
      const a = this.#agents[i];
      setText(this.#tiles[i].time, !a || Number.isNaN(a.since) ? "" : clock((now - a.since) / 1000));
    }
  }
}

const steps = [1.4, 1.3, 1.2, 1.1, 1, 0.92, 0.85, 0.78, 0.71, 0.64, 0.57, 0.5];

/**
 * fitRows makes the text of a box as large as its rows allow, no larger than most, and hides those that fit at no
 * size; returns how many.
 */
export function fitRows(box, rows, most = 1.4) {
  const all = [...rows];
  for (const row of all) row.hidden = false;
  for (const s of steps) {
    if (s > most) continue;
    box.style.setProperty("--fit", s);
    if (box.scrollHeight <= box.clientHeight + 1 && box.scrollWidth <= box.clientWidth + 1) return 0;
  }
  let left = 0;
  while (left < all.length - 1 && box.scrollHeight > box.clientHeight + 1) {
    left++;
    all[all.length - left].hidden = true;
  }
  return left;
}
