// Helpers for the document. Text from the stream is only ever set as text.

export const $ = (id) => document.getElementById(id);

/** Make an element with a class and a text. */
export function el(tag, cls = "", text = "") {
  const n = document.createElement(tag);
  if (cls) n.className = cls;
  if (text) n.textContent = text;
  return n;
}

/** Set a text if it differs: an equal text must not be painted again. */
export function setText(node, text) {
  if (node.firstChild?.nodeType === 3 && !node.firstChild.nextSibling) {
    if (node.firstChild.data !== text) node.firstChild.data = text;
  } else if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute if it differs, null removes it; returns the element. */
export function setAttr(node, name, v) {
  if (v === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== v) node.setAttribute(name, v);
  return node;
}

export const show = (node, yes) => {
  if (node.hidden === yes) node.hidden = !yes;
};

/** The choices of the reader, stored in the browser if it permits. */
export const stored = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(`bridge.${name}`));
    } catch {
      return null;
    }
  },
  set(name, v) {
    try {
      localStorage.setItem(`bridge.${name}`, JSON.stringify(v));
    } catch {
      // A private window may store nothing.
    }
  },
};

const svg = "http://www.w3.org/2000/svg";

/** A small curve of the last minutes, drawn; its value stands next to it as text. */
export class Spark {
  constructor() {
    this.node = document.createElementNS(svg, "svg");
    for (const [k, v] of [["class", "spark"], ["viewBox", "0 0 100 20"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"], ["focusable", "false"]]) this.node.setAttribute(k, v);
    this.area = this.node.appendChild(document.createElementNS(svg, "path"));
    this.area.setAttribute("class", "area");
    this.line = this.node.appendChild(document.createElementNS(svg, "path"));
    this.line.setAttribute("class", "line");
  }

  /** Draw points [[ms, number], …] over the time up to now; they hold until the next. */
  draw(points, now, reach) {
    if (points.length === 0) {
      setAttr(this.line, "d", "");
      setAttr(this.area, "d", "");
      return;
    }
    const from = now - reach;
    let low = 0;
    let high = 0;
    let first = 0;
    for (let i = points.length - 1; i >= 0; i--) {
      low = Math.min(low, points[i][1]);
      high = Math.max(high, points[i][1]);
      first = i;
      if (points[i][0] < from) break;
    }
    const span = high - low || 1;
    const x = (ms) => Math.min(100, Math.max(0, ((ms - from) / reach) * 100)).toFixed(1);
    const y = (n) => (19 - ((n - low) / span) * 18).toFixed(1);
    let d = `M${x(points[first][0])} ${y(points[first][1])}`;
    for (let i = first + 1; i < points.length; i++) d += `H${x(points[i][0])}V${y(points[i][1])}`;
    d += "H100";
    setAttr(this.line, "d", d);
    setAttr(this.area, "d", `${d}V20H${x(points[first][0])}Z`);
  }
}
