// The connection from which the page gets its data.

/**
 * Live reads /live/events and calls, in order and in slices that leave the page
 * responsive:
 *
 *   onHello(hello)            a new snapshot begins
 *   onEntries(name, entries)  "snapshot", "series" or "events"
 *   onReady(ready)            the snapshot is complete
 *   onHeartbeat(heartbeat)    the connection works
 *   onChange()                connected or disconnected
 *
 * and of several tenants at once, in place of the first three:
 *
 *   onTenants(tenants)           which ones they are
 *   onTenant(tenant, name, data) an event of one of them, with the names of /live/events
 */
export class Live {
  connected = false; // the snapshot is complete, and events arrive
  lostAt = Date.now();
  error = ""; // why the server ended the last session
  failures = 0; // since it was last connected
  #offset = 0; // the server's clock minus this one's
  #samples = []; // of the offset; a delayed message gives one that is too small
  #source = null;
  #queue = [];
  #receivedAt = 0;
  #retryDelay = 500;
  #timeout = 10_000;
  #timer = 0;
  #draining = false;
  #query = "";

  constructor(handlers) {
    this.on = handlers;
    setInterval(() => this.#checkTimeout(), 1000);
    document.addEventListener("visibilitychange", () => this.#schedule(true));
  }

  /** The server's clock, in ms. */
  now() {
    return Date.now() + this.#offset;
  }

  /** Connect to a tenant ("" = the server's own), closing any other. */
  open(tenant) {
    this.#query = tenant ? `?tenant=${encodeURIComponent(tenant)}` : "";
    this.#retryDelay = 500;
    this.#connect();
  }

  /** Connect to several tenants, tokens with commas, or to all ("all"). */
  openSeveral(tenants) {
    this.#query = `?tenants=${encodeURIComponent(tenants)}`;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#source?.close();
    this.#queue = [];
    this.#receivedAt = performance.now();
    const source = new EventSource(`live/events${this.#query}`);
    this.#source = source;
    for (const name of ["hello", "snapshot", "series", "ready", "events", "heartbeat", "failure", "tenants", "tenant"]) {
      source.addEventListener(name, (e) => {
        this.#receivedAt = performance.now();
        this.#queue.push([name, e.data, Date.now()]);
        // A page in the background may be too slow forever.
        if (this.#queue.length > 5000) this.#disconnect("This page could not keep up.");
        else this.#schedule();
      });
    }
    source.onerror = () => this.#disconnect("");
  }

  /** Reconnect, for the events are not those of the current stream. */
  reconnect(why) {
    this.#disconnect(why);
  }

  #disconnect(why) {
    this.failures++;
    this.#source?.close();
    this.#source = null;
    this.#queue = [];
    if (why) this.error = why;
    if (this.connected) this.lostAt = Date.now();
    this.connected = false;
    this.on.onChange();
    if (!this.#timer) this.#timer = setTimeout(() => this.#connect(), this.#retryDelay * (0.75 + Math.random() / 2));
    this.#retryDelay = Math.min(this.#retryDelay * 2, 8000);
  }

  #checkTimeout() {
    // After the machine was suspended, the queue is drained first.
    if (this.#source && !this.#queue.length && performance.now() - this.#receivedAt > this.#timeout) this.#disconnect("Nothing received for too long.");
  }

  #schedule(again) {
    if (this.#draining && !again) return;
    this.#draining = true;
    // There are no animation frames while the page is in the background.
    if (document.hidden) setTimeout(() => this.#drain(200), 0);
    else requestAnimationFrame(() => this.#drain(8));
  }

  // Drain the queue, for a few milliseconds of each frame.
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

  #isConnected() {
    this.connected = true;
    this.error = "";
    this.failures = 0;
    this.#retryDelay = 500;
  }

  #handle(name, v, at) {
    switch (name) {
      case "hello":
        this.#samples = [];
        this.#clock(v.now, at);
        this.#timeout = Math.max(v.heartbeat_seconds * 4000, 8000);
        return this.on.onHello(v);
      case "ready":
        this.#isConnected();
        this.on.onReady(v);
        return this.on.onChange();
      case "tenants":
        this.#samples = [];
        this.#timeout = Math.max(v.heartbeat_seconds * 4000, 8000);
        this.#isConnected();
        this.on.onTenants(v);
        return this.on.onChange();
      case "tenant":
        if (v.data.now) this.#clock(v.data.now, at);
        return this.on.onTenant(v.tenant, v.name, v.data);
      case "heartbeat":
        this.#clock(v.now, at);
        return this.on.onHeartbeat(v);
      case "failure":
        return this.#disconnect(v.error);
      default:
        return this.on.onEntries(name, v);
    }
  }
}
