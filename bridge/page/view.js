// What the page shows: a copy of the view, and the recent values of its statistics.

import { number } from "./text.js";

/** A copy of the view of one tenant: the latest event of every key. */
export class View {
  agents = new Map(); // key → agent
  services = new Map(); // service → {after, at}
  availability = new Map(); // service → true, false or null
  totals = new Map(); // app → {after, at}
  thresholds = new Map(); // key → the data of a raised threshold
  feed = null; // the data of the latest checkpoint
  feedSeq = 0;
  interrupted = null; // the data of the last feed.interrupted
  #seqs = new Map();
  #staleFor = 0; // heartbeats in a row that say stale of an earlier poll

  /**
   * Apply one entry of the view or of the stream; returns what it changed:
   * "agents", "services", "totals", "thresholds", "feed" or "".
   */
  apply({ key, seq, removed, event }) {
    const data = event.data;
    if (!key) {
      if (event.type === "bpcc.feed.interrupted.v1") this.interrupted = data;
      return "";
    }
    // The view may be ahead of the events that follow the snapshot.
    if (seq && seq <= (this.#seqs.get(key) ?? 0)) return "";
    this.#seqs.set(key, seq);
    const kind = key.split(".", 1)[0];
    switch (kind) {
      case "agent":
        this.#agent(key, data, removed);
        return "agents";
      case "service":
        this.#put(this.services, data.service, removed ? null : { after: data.after ?? {}, at: Date.parse(event.time) });
        return "services";
      case "availability":
        this.#put(this.availability, data.service, removed ? undefined : { available: data.available });
        return "services";
      case "totals":
        this.#put(this.totals, data.app, removed ? null : { after: data.after ?? {}, at: Date.parse(event.time) });
        return "totals";
      case "threshold":
        this.#put(this.thresholds, key, event.type === "bpcc.threshold.raised.v1" ? { ...data, at: Date.parse(event.time) } : null);
        return "thresholds";
      case "feed":
        this.feed = data;
        this.feedSeq = seq;
        this.#staleFor = 0;
        return "feed";
    }
    return ""; // the view has only the last change of a directory
  }

  /** Report whether the view is ahead of the events received. */
  isBehind(event) {
    const [now, known] = [event?.data, this.feed];
    return Boolean(now && known && (now.epoch > known.epoch || (now.epoch === known.epoch && now.poll > known.poll)));
  }

  /**
   * Apply the feed as the view has it; true if it differs from the stream, to
   * which a dead bridge writes nothing.
   */
  applyFeed(event) {
    const now = event?.data;
    const known = this.feed;
    const stale = now?.status === "stale";
    if (!now || (known && now.epoch < known.epoch)) return false;
    // The bridge prepares the message that says stale some seconds ahead, so it may name an earlier poll than the
    // last checkpoint. If the view has had it for two heartbeats, no checkpoint has followed.
    const earlier = known && now.epoch === known.epoch && now.poll < known.poll;
    this.#staleFor = stale && earlier ? this.#staleFor + 1 : 0;
    if (earlier && this.#staleFor < 2) return false;
    if (!stale && known?.status !== "stale") return false;
    this.feed = earlier ? { ...known, status: now.status } : now;
    return true;
  }

  #put(map, key, v) {
    if (v === null || v === undefined) map.delete(key);
    else map.set(key, v);
  }

  #agent(key, data, removed) {
    if (removed) {
      this.agents.delete(key);
      return;
    }
    const after = data.after ?? {};
    const known = this.agents.get(key);
    const state = data.to?.state ?? known?.state ?? stateOf(after);
    const reason = data.to ? (data.to.reason ?? "") : (after.reason ?? "");
    const a = known ?? { key };
    a.id = data.agent?.id ?? key;
    a.name = data.agent?.name || a.id;
    a.team = data.agent?.team ?? "";
    // A change of statistics does not change when the state began.
    if (data.since) a.since = Date.parse(data.since);
    else if (!known || known.state !== state || known.reason !== reason) {
      const held = number(after.state_duration);
      const by = Date.parse(data.observed?.by ?? "");
      a.since = Number.isNaN(held) ? (known ? by : NaN) : by - held * 1000;
    }
    a.state = state || "unknown";
    a.reason = reason;
    a.next = data.to ? (data.to.next_state ?? "") : (after.acd_next_state ?? "");
    a.find = `${a.name} ${a.id} ${a.team} ${a.reason}`.toLowerCase();
    this.agents.set(key, a);
  }
}

// The state of an event without "to".
const stateOf = (after) => (["", "0"].includes(after.acd_state) ? "logged_out" : after.acd_state);

/** The statistics of queues and totals over the last minutes. */
export class Series {
  #points = new Map(); // key → stat → [[ms, number], …] in order
  #first = Infinity;
  window = 600e3; // ms

  /** How far back from an instant the series reach, in ms. */
  reach(now) {
    return Math.min(this.window, Math.max(60e3, now - this.#first));
  }

  /** Add statistics at an instant; those older than the last are skipped. */
  add(key, ms, stats) {
    this.#first = Math.min(this.#first, ms);
    let of = this.#points.get(key);
    if (!of) this.#points.set(key, (of = new Map()));
    for (const stat in stats) {
      const n = number(stats[stat]);
      if (Number.isNaN(n)) continue;
      let line = of.get(stat);
      if (!line) of.set(stat, (line = []));
      const last = line[line.length - 1];
      if (last && last[0] >= ms) continue;
      if (last && last[1] === n) continue;
      line.push([ms, n]);
      // One point must stay before the window, for where the line enters it.
      let old = 0;
      while (old + 1 < line.length && line[old + 1][0] < ms - this.window) old++;
      if (old > 60) line.splice(0, old);
    }
  }

  /** The points of one statistic, oldest first. */
  line(key, stat) {
    return this.#points.get(key)?.get(stat) ?? [];
  }

  clear() {
    this.#points.clear();
    this.#first = Infinity;
  }
}
