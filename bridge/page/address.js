// The parameters in the address of the page: a link reproduces the picture.

/** The orders of queues, by the value of ?sort=. */
export const sorts = {
  name: "by name",
  wait: "longest wait first",
  waiting: "most waiting first",
  level: "lowest level first",
  raised: "raised first",
};

/** The orders of agents, by the value of ?order=. */
export const orders = { name: "by name", longest: "longest in state", newest: "last changed" };

const names = ["tenant", "tenants", "wall", "target", "sort", "service", "order", "team", "state", "q"];
/** What says how the picture looks, and not whose it is. */
const ofPicture = names.slice(3);

/** token writes an id as the bridge does in subjects; a token stays as it is. */
function token(id) {
  if (/^([A-Za-z0-9_-]|=[0-9A-F]{2})+$/.test(id)) return id;
  const byte = (b) => (/[A-Za-z0-9_-]/.test(String.fromCharCode(b)) ? String.fromCharCode(b) : `=${b.toString(16).toUpperCase().padStart(2, "0")}`);
  return [...new TextEncoder().encode(id)].map(byte).join("");
}

const items = (s) => s.split(",").map((t) => t.trim()).filter(Boolean);

/**
 * Which states of agents are shown: those of "only", or all but those of "hidden".
 */
export class States {
  constructor(only, hidden) {
    this.only = only && new Set(only);
    this.hidden = new Set(hidden);
  }

  has(state) {
    return this.only ? this.only.has(state) : !this.hidden.has(state);
  }

  toggle(state) {
    const set = this.only ?? this.hidden;
    if (!set.delete(state)) set.add(state);
  }

  /** As a value of ?state=; "" is the default. */
  toString() {
    if (this.only) return [...this.only].sort().join(",") || "none";
    const hidden = [...this.hidden].sort().map((s) => `-${s}`).join(",");
    return hidden === "-logged_out" ? "" : hidden || "all";
  }

  static parse(text) {
    if (text === "all") return new States(null, []);
    if (text === "none") return new States([], []);
    const list = items(text);
    const hidden = list.filter((s) => s.startsWith("-")).map((s) => s.slice(1));
    if (hidden.length && hidden.length < list.length) return null;
    return hidden.length ? new States(null, hidden) : new States(list, []);
  }
}

/** The address, read once, and kept up to date as the reader changes the picture. */
export class Address {
  faults = []; // what is wrong with the address, in sentences
  tenant = ""; // token; "" is the bridge's own
  tenants = null; // tokens, or "all", to show side by side
  wall = false;
  target = null; // percent
  sort = ""; // "" is not given
  service = "";
  order = "name";
  team = "";
  states = null; // null is not given
  q = "";
  #given = new Map();
  #search;

  constructor(search) {
    const query = new URLSearchParams(search);
    this.#search = search;
    for (const [name, v] of query) {
      if (!names.includes(name)) this.#fault(`“${name}” is no parameter of this page. It has ${names.join(", ")}.`);
      else if (this.#given.has(name)) this.#fault(`“${name}” is there more than once; the first one counts.`);
      else this.#given.set(name, v.trim());
    }
    const take = (name, read) => {
      const v = this.#given.get(name);
      if (v !== undefined && v !== "" && read(v) === false) this.#given.delete(name);
    };
    take("tenant", (v) => (this.tenant = token(v)));
    take("tenants", (v) => this.#tenants(v));
    take("wall", (v) => this.#oneOf("wall", v, ["1", "0"]) && ((this.wall = v === "1"), true));
    take("target", (v) => this.#target(v));
    take("sort", (v) => this.#oneOf("sort", v, Object.keys(sorts)) && ((this.sort = v), true));
    take("order", (v) => this.#oneOf("order", v, Object.keys(orders)) && ((this.order = v), true));
    for (const name of ["team", "service", "q"]) take(name, (v) => (this[name] = v));
    take("state", (v) => {
      this.states = States.parse(v);
      return this.states ? true : this.#fault(`state=${v}: either states to show, as in ready,busy, or states to hide, as in -logged_out. All but logged-out agents are shown.`);
    });
    if (this.tenants) {
      if (this.tenant) this.#fault("“tenant” does not count beside “tenants”.");
      for (const name of ["order", "team", "state", "q"]) if (this.#given.get(name)) this.#fault(`“${name}” does not apply to several contact centres, which show no single agents.`);
    }
  }

  #fault(text) {
    this.faults.push(text);
    return false;
  }

  #oneOf(name, v, values) {
    return values.includes(v) || this.#fault(`${name}=${v} is not one of ${values.join(", ")}.`);
  }

  #tenants(v) {
    const list = items(v);
    if (!list.length) return this.#fault(`tenants=${v} names none; give names with commas, or all.`);
    if (list.length > 16 && v !== "all") return this.#fault(`tenants has ${list.length} names; at most 16 are shown side by side.`);
    this.tenants = v === "all" ? "all" : [...new Set(list.map(token))];
    return true;
  }

  #target(v) {
    const n = /^\d+(\.\d+)?\s*%?$/.test(v) ? parseFloat(v) : NaN;
    if (!(n > 0 && n <= 100)) return this.#fault(`target=${v} is no percentage above 0 and up to 100.`);
    this.target = n;
    return true;
  }

  /** Report whether the address says how the picture looks: then nothing that the browser has stored counts. */
  get describes() {
    return ofPicture.some((name) => this.#given.get(name));
  }

  /** The address with other values, "" removes one. */
  with(changes) {
    const all = new Map(this.#given);
    for (const name in changes) {
      if (changes[name]) all.set(name, changes[name]);
      else all.delete(name);
    }
    const text = names.filter((n) => all.get(n)).map((n) => `${n}=${encodeURIComponent(all.get(n)).replaceAll("%2C", ",")}`).join("&");
    return text ? `?${text}` : location.pathname;
  }

  /** Keep values in the address of the browser, in place of the present one or, by "pushState", after it. */
  keep(changes, how = "replaceState") {
    const url = this.with(changes);
    for (const name in changes) this.#given.set(name, changes[name]);
    if (url !== (location.search || location.pathname)) history[how](null, "", url);
    this.#search = location.search;
  }

  /** Report whether the page shows what the address of the browser says. */
  isCurrent() {
    return this.#search === location.search;
  }
}
