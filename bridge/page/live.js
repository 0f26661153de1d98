// The connection that feeds the page.

/**
 * Live reads /live/events and hands on, in order and in slices that leave the
 * page responsive:
 *
 *   onHello(hello)    a new picture begins
 *   onEntries(name, entries)  "view", "curves" or "events"
 *   onReady(ready)    the picture is whole
 *   onBeat(beat)      a sign of life
 *   onChange()        connected or lost
 */
export class Live {
  connected = false; // events have come, and still do
  lostAt = Date.now();
  trouble = ""; // what the server said when it gave up
  failures = 0; // since it was last connected
  #offset = 0; // the server's clock less this one's
  #samples = []; // of the offset; what was late on its way shows too small a one
  #source = null;
  #queue = [];
  #heard = 0;
  #wait = 500;
  #patience = 10_000;
  #timer = 0;
  #draining = false;

  constructor(handlers) {
    this.on = handlers;
    setInterval(() => this.#watch(), 1000);
    document.addEventListener("visibilitychange", () => this.#schedule(true));
  }

  /** The server's clock, in ms. */
  now() {
    return Date.now() + this.#offset;
  }

  /** Connect to a tenant ("" = the server's own), leaving any other. */
  open(tenant) {
    this.tenant = tenant;
    this.#wait = 500;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#source?.close();
    this.#queue = [];
    this.#heard = performance.now();
    const source = new EventSource("live/events" + (this.tenant ? `?tenant=${encodeURIComponent(this.tenant)}` : ""));
    this.#source = source;
    for (const name of ["hello", "view", "curves", "ready", "events", "beat", "trouble"]) {
      source.addEventListener(name, (e) => {
        this.#heard = performance.now();
        this.#queue.push([name, e.data, Date.now()]);
        // A page that is not shown may be too slow for ever.
        if (this.#queue.length > 5000) this.#lost("This page is too slow for the events.");
        else this.#schedule();
      });
    }
    source.onerror = () => this.#lost("");
  }

  /** Begin anew, for what comes is not what is. */
  again(why) {
    this.#lost(why);
  }

  #lost(why) {
    this.failures++;
    this.#source?.close();
    this.#source = null;
    this.#queue = [];
    if (why) this.trouble = why;
    if (this.connected) this.lostAt = Date.now();
    this.connected = false;
    this.on.onChange();
    if (!this.#timer) this.#timer = setTimeout(() => this.#connect(), this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, 8000);
  }

  #watch() {
    // After a sleep of the machine, what is waiting here is heard first.
    if (this.#source && !this.#queue.length && performance.now() - this.#heard > this.#patience) this.#lost("The bridge sends nothing.");
  }

  #schedule(again) {
    if (this.#draining && !again) return;
    this.#draining = true;
    // Frames stand still while the page is not shown.
    if (document.hidden) setTimeout(() => this.#drain(200), 0);
    else requestAnimationFrame(() => this.#drain(8));
  }

  // Work off what has come, for a few milliseconds of each frame.
  #drain(budget) {
    const until = performance.now() + budget;
    while (this.#queue.length && performance.now() < until) {
      const [name, text, at] = this.#queue.shift();
      this.#handle(name, JSON.parse(text), at);
    }
    this.#draining = false;
    if (this.#queue.length) this.#schedule();
  }

  #clock(now, at) {
    this.#samples = [...this.#samples.slice(-9), Date.parse(now) - at];
    this.#offset = Math.max(...this.#samples);
  }

  #handle(name, v, at) {
    switch (name) {
      case "hello":
        this.#samples = [];
        this.#clock(v.now, at);
        this.#patience = Math.max(v.beat * 4000, 8000);
        return this.on.onHello(v);
      case "ready":
        this.connected = true;
        this.trouble = "";
        this.failures = 0;
        this.#wait = 500;
        this.on.onReady(v);
        return this.on.onChange();
      case "beat":
        this.#clock(v.now, at);
        return this.on.onBeat(v);
      case "trouble":
        return this.#lost(v.error);
      default:
        return this.on.onEntries(name, v);
    }
  }
}
