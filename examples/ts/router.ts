// A program that routes calls by what the bridge knows: may a call be sent to
// this service now?
//
//     NATS_URL=nats://127.0.0.1:4222 npm run router -- --tenant demo
//
// The one rule of such a program: an answer that may be old is no answer. So it
// says ROUTE only if the feed is live and recent, and HOLD, with the reason, in
// every other case.

import { parseArgs } from "node:util";
import { connect } from "@nats-io/transport-node";
import { jetstreamManager, type JetStreamManager } from "@nats-io/jetstream";
import { Kvm, type KV, type KvWatchEntry } from "@nats-io/kv";
import { token, type Availability, type Checkpoint, type Event } from "./event.ts";

const { values } = parseArgs({
  options: {
    tenant: { type: "string", default: "demo" },
    // A feed without changes has a checkpoint every BRIDGE_CHECKPOINT_INTERVAL
    // (30 s), so that a lower limit would refuse a healthy one.
    limit: { type: "string", default: "35" },
    for: { type: "string", default: "0" },
  },
});

interface Decision {
  route: boolean;
  reason: string;
}

/** Knows which services can take a call, and whether that is still true. */
class Router {
  #feed?: { checkpoint: Checkpoint; stored: Date };
  #available = new Map<string, boolean | null>();

  constructor(
    private readonly jsm: JetStreamManager,
    private readonly kv: KV,
    private readonly tenant: string, // as a subject token
    private readonly limit: number, // seconds
  ) {}

  get services(): string[] {
    return [...this.#available.keys()].sort();
  }

  /**
   * Keep up to date until the connection closes.
   *
   * One watcher on both keys, and not a get of each: it delivers in the order of
   * the stream, in which the events of a poll come before the checkpoint that
   * counts them. Two gets may be answered by replicas that are not equally far.
   */
  async follow(): Promise<void> {
    const watcher = await this.kv.watch({ key: [`${this.tenant}.feed`, `${this.tenant}.availability.*`] });
    for await (const entry of watcher) this.#apply(entry);
  }

  #apply(entry: KvWatchEntry): void {
    if (entry.operation !== "PUT") return; // the bridge deletes neither key
    if (entry.key === `${this.tenant}.feed`) {
      this.#feed = { checkpoint: entry.json<Event<Checkpoint>>().data, stored: entry.created };
    } else {
      const { service, available } = entry.json<Event<Availability>>().data;
      this.#available.set(service, available);
    }
  }

  /** Decides whether a call may be sent to a service now. */
  async decide(service: string): Promise<Decision> {
    const stale = this.#stale(this.#feed?.checkpoint);
    if (!stale) return decide(this.#available.get(service) ?? null);
    // The server fills the view a moment after the stream, and after the loss of a
    // server it may lag for seconds. The stream is the truth, so ask it before
    // refusing.
    try {
      return decide(await this.#ask(service));
    } catch (err) {
      return { route: false, reason: `${stale}, and ${(err as Error).message}` };
    }
  }

  /**
   * Why a feed cannot be trusted, "" if it can. The clocks of this machine and
   * the bridge's must agree to much less than the limit.
   */
  #stale(feed?: Checkpoint): string {
    if (!feed) return "the feed has not been seen";
    if (feed.status !== "live") return `the feed is ${feed.status}`;
    const age = Date.now() - Date.parse(feed.observed_until ?? "");
    // Written so that no age at all, NaN, is too old.
    return age <= this.limit * 1000 ? "" : `the feed is older than ${this.limit} s`;
  }

  /**
   * Read a service's availability from the stream, if the stream has a later and
   * better checkpoint than the view. "stale" stands in the view alone: the
   * server itself writes it there when a bridge has died, so an older checkpoint
   * of the stream must not overrule it.
   */
  async #ask(service: string): Promise<boolean | null> {
    const last = (subject: string) =>
      this.jsm.streams.getMessage("BPCC_EVENTS", { last_by_subj: `bpcc.v1.${this.tenant}.${subject}` });
    const checkpoint = await last("feed.checkpoint");
    if (!checkpoint || (this.#feed && checkpoint.time <= this.#feed.stored)) throw new Error("the stream has no newer checkpoint");
    if (this.#stale(checkpoint.json<Event<Checkpoint>>().data)) throw new Error("the stream agrees");
    const events = await Promise.all(
      ["observed", "changed"].map((verb) => last(`availability.${token(service)}.${verb}`)),
    );
    const latest = events.filter((m) => m !== null).sort((a, b) => b.seq - a.seq)[0];
    return latest?.json<Event<Availability>>().data.available ?? null;
  }
}

function decide(available: boolean | null): Decision {
  switch (available) {
    case null:
      return { route: false, reason: "availability is unknown" };
    case false:
      return { route: false, reason: "no agent is available" };
    case true:
      return { route: true, reason: "an agent is available" };
  }
}

// The router survives a lost connection: its data gets old, and it refuses.
const nc = await connect({ servers: process.env.NATS_URL, name: "router", maxReconnectAttempts: -1, timeout: 2000 });
const router = new Router(
  await jetstreamManager(nc),
  await new Kvm(nc).open("bpcc_state"),
  token(values.tenant),
  Number(values.limit),
);
const following = router.follow();

const printed = new Map<string, string>();
const end = Number(values.for) > 0 ? Date.now() + Number(values.for) * 1000 : Infinity;
process.once("SIGINT", () => void nc.close());
while (!nc.isClosed() && Date.now() < end) {
  for (const service of router.services) {
    const { route, reason } = await router.decide(service);
    const line = `${route ? "ROUTE" : "HOLD "}  ${service.padEnd(24)} ${reason}`;
    if (line !== printed.get(service)) console.log(new Date().toTimeString().slice(0, 8), line);
    printed.set(service, line);
  }
  await new Promise((resolve) => setTimeout(resolve, 250));
}
await nc.close();
await following;
