// Service levels as percentages, and how they stand to a target.

import { el, setText } from "./dom.js";
import { number } from "./text.js";

/**
 * Whether a tenant writes shares as 0.85 or as 85. BPCC's documents leave that open, so it is what the values
 * show: one above 1 is a percentage, a fraction below 1 a share of 1. Of 0 and 1 alone nothing is known.
 */
export class Scale {
  #whole = 0; // what all is: 1, 100, or 0 = not known

  /** Take note of a service level, or a target of one. */
  see(text) {
    const n = number(text);
    if (n > 1) this.#whole = 100;
    else if (n > 0 && n < 1 && !this.#whole) this.#whole = 1;
  }

  /** The percentage that a text says; NaN if it says none, or the scale is not known. */
  percent(text) {
    const t = (text ?? "").trim();
    if (t.endsWith("%")) return number(t.slice(0, -1));
    const n = number(t);
    if (n === 0) return 0;
    return this.#whole ? (n * 100) / this.#whole : NaN;
  }

  clear() {
    this.#whole = 0;
  }
}

/** percentText writes a percentage with one decimal at most; it never rounds up, so none looks as if it met a target. */
export const percentText = (n) => `${Math.floor(n * 10 + 1e-6) / 10} %`;

const near = 10; // points below a target

/** Grades of a service level: the sign, and what it says in words. */
const grades = {
  met: ["✓", "meets"],
  near: ["△", "is just below"],
  missed: ["▼", "misses"],
};

export const gradeOf = (percent, target) => (!(target > 0) || Number.isNaN(percent) ? "" : percent >= target ? "met" : percent >= target - near ? "near" : "missed");

/** A service level with its sign. */
export class Level {
  constructor(node) {
    this.node = node;
    this.sign = node.appendChild(el("span", "sign"));
    this.sign.setAttribute("aria-hidden", "true");
    this.text = node.appendChild(el("span"));
    this.words = node.appendChild(el("span", "visually-hidden"));
  }

  /** Show what BPCC sent; target is a percentage, NaN or null for none. */
  draw(raw, scale, target) {
    const percent = scale.percent(raw);
    const grade = gradeOf(percent, target);
    const [sign, verb] = grades[grade] ?? ["", ""];
    const known = !Number.isNaN(percent);
    setText(this.sign, sign);
    setText(this.text, raw === undefined || raw === "" ? "–" : known ? percentText(percent) : raw);
    setText(this.words, grade ? ` ${verb} the target of ${percentText(target)}` : "");
    const title = known ? `service_level ${raw}${grade ? `, target ${percentText(target)}` : ""}` : raw ? `service_level ${raw}; whether of 1 or of 100 is not known yet` : "";
    if (this.node.title !== title) this.node.title = title;
    if (this.node.dataset.grade !== grade) this.node.dataset.grade = grade;
  }
}
