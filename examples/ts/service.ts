// A service that does something once for every change of an agent's state: here
// it writes a line into a ledger.
//
//     NATS_URL=nats://127.0.0.1:4222 npm run service -- --tenant demo
//
// End it in any way, start it again: it continues where it was, and no change is in
// the ledger twice or missing. Three things together make that so: a durable
// consumer, for which the server stores what was acknowledged; an acknowledgement
// after the work, so that a crash in between brings the event again; and work that
// knows the ids of the events it has done, so that a second delivery does no harm.

import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { connect, nanos } from "@nats-io/transport-node";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { token, type Event, type StateChanged } from "./event.ts";

const { values } = parseArgs({
  options: {
    tenant: { type: "string", default: "demo" },
    durable: { type: "string", default: "example-service" },
    ledger: { type: "string", default: "state-changes.ndjson" },
    for: { type: "string", default: "0" },
  },
});

/**
 * A file with one line for each change, whose id it begins with. Where you have a
 * database it is a table, and the id its primary key: what matters is that the
 * effect and the id are stored together.
 */
class Ledger {
  readonly #file: number;
  readonly #done: Set<string>;

  constructor(name: string) {
    this.#file = openSync(name, "a+", 0o640);
    const text = readFileSync(name);
    // A crash may have cut the last line off: its event comes again.
    const complete = text.subarray(0, text.lastIndexOf("\n") + 1);
    ftruncateSync(this.#file, complete.length);
    const lines = complete.toString().split("\n").slice(0, -1);
    this.#done = new Set(lines.map((line) => (JSON.parse(line) as { id: string }).id));
  }

  get size(): number {
    return this.#done.size;
  }

  /** Add a change, unless it is there already. */
  write({ id, data }: Event<StateChanged>): void {
    if (this.#done.has(id)) return;
    const { agent, from, to, observed } = data;
    const line = { id, agent: agent.id, from: from.state, to: to.state, after: observed.after, by: observed.by };
    writeSync(this.#file, JSON.stringify(line) + "\n");
    fsyncSync(this.#file); // an acknowledged event must outlive a power cut
    this.#done.add(id);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** The event of a message, null if it is none that this service knows. */
function read(body: string): Event<StateChanged> | null {
  try {
    const event = JSON.parse(body) as Event<StateChanged>;
    // Fields may be added within v1; another meaning would be another type.
    return event.type === "bpcc.agent.state_changed.v1" && event.id ? event : null;
  } catch {
    return null;
  }
}

const ledger = new Ledger(values.ledger);
console.log(`${ledger.size} changes are in ${values.ledger}`);
const nc = await connect({ servers: process.env.NATS_URL, name: values.durable, maxReconnectAttempts: -1 });
const jsm = await jetstreamManager(nc);
// The same settings open the consumer that is there.
await jsm.consumers.add("BPCC_EVENTS", {
  durable_name: values.durable,
  filter_subject: `bpcc.v1.${token(values.tenant)}.agent.*.state_changed`,
  deliver_policy: DeliverPolicy.All, // at its first start, from the beginning of the stream
  ack_policy: AckPolicy.Explicit,
  ack_wait: nanos(5_000), // longer than the work ever takes: then an event without an acknowledgement comes again
  // One at a time keeps the order even when an event comes again. Where order
  // does not matter, a higher limit is faster.
  max_ack_pending: 1,
});
const consumer = await jetstream(nc).consumers.get("BPCC_EVENTS", values.durable);
const messages = await consumer.consume();
process.once("SIGINT", () => messages.stop());
process.once("SIGTERM", () => messages.stop());
if (Number(values.for) > 0) setTimeout(() => messages.stop(), Number(values.for) * 1000);

for await (const message of messages) {
  const event = read(message.string());
  if (!event) {
    // A second delivery would not make it readable. Report and skip it, or it
    // would block all later events.
    console.error(`service: skipped a message on ${message.subject}`);
    message.term("not an event that this service knows");
    continue;
  }
  // If this throws, the program ends, and the event stays without acknowledgement.
  // It comes again when the service is started again.
  ledger.write(event);
  // If this is lost, the event comes again, and the ledger knows its id.
  message.ack();
}
console.log(`${ledger.size} changes are in ${values.ledger} now`);
await nc.drain();
ledger.close();
