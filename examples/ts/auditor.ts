// A program that copies the history to a file and proves it complete: no event
// missing, none duplicate, gaps stated.
//
//     NATS_URL=nats://127.0.0.1:4222 npm run auditor -- --out events.ndjson
//     npm run auditor -- --in events.ndjson
//
// The first reads the stream to its present end and writes each event as it is
// stored, one a line. The second judges such a file years later, without any
// server. Both print what they found, and end with status 1 if anything is wrong.

import { createReadStream, createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { finished } from "node:stream/promises";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { connect } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";
import type { Checkpoint, Event } from "./event.ts";

/** The fields that an auditor reads; not every event has all of them. */
interface Audited extends Checkpoint {
  revision?: number;
  after_gap?: boolean;
  before?: Record<string, string>;
  after?: Record<string, string>;
  observed?: { after: string | null; by: string };
  cause?: string;
}

/** How far a tenant's history has been read. */
interface Progress {
  epoch: number;
  poll: number;
  index: number;
  batch: number; // events since the last checkpoint
  startedMidPoll: boolean; // the history begins within a poll, older events have aged out
  part: number;
  parts: number;
  observedUntil: string;
  last: string;
}

/** Reads events in the order of the stream and notes what is wrong. */
class Audit {
  readonly faults: string[] = [];
  readonly gaps: string[] = [];
  events = 0;
  polls = 0;
  afterGap = 0;
  readonly #tenants = new Map<string, Progress>();
  readonly #chains = new Map<string, { revision: number; after?: Record<string, string> }>();

  read(body: string): void {
    this.events++;
    let event: Event<Audited>;
    try {
      event = JSON.parse(body) as Event<Audited>;
    } catch (err) {
      this.faults.push(`event ${this.events} is unreadable: ${(err as Error).message}`);
      return;
    }
    const { type, data } = event;
    this.#position(event);
    if (data.revision !== undefined) this.#chain(event, data.revision);
    if (data.after_gap) this.afterGap++;
    if (type === "bpcc.feed.resumed.v1") {
      this.gaps.push(`${data.tenant}: ${data.cause}, nothing is known between ${data.observed?.after ?? "the beginning"} and ${data.observed?.by}`);
    }
  }

  #fault(event: Event<unknown>, what: string): void {
    this.faults.push(`${event.id} (${event.type}): ${what}`);
  }

  /**
   * Prove that no event is missing or duplicate: an id ends in epoch, poll and
   * index, the index counts the events of a poll, and its checkpoint counts them too.
   */
  #position(event: Event<Audited>): void {
    const { id, type, data } = event;
    const [epoch, poll, index] = (/-(\d+)-(\d+)-(\d+)$/.exec(id) ?? []).slice(1).map(Number);
    if (epoch === undefined || poll === undefined || index === undefined) {
      this.#fault(event, "the id does not end in epoch, poll and index");
      return;
    }
    let t = this.#tenants.get(data.tenant);
    if (!t) {
      // Where older events have aged out, the history may begin within a poll.
      t = { epoch, poll, index: index - 1, batch: 0, startedMidPoll: index > 1, part: 0, parts: 0, observedUntil: "", last: "" };
      this.#tenants.set(data.tenant, t);
      this.polls++;
    } else if (epoch === t.epoch && poll === t.poll) {
      if (t.batch === 0 && t.part === t.parts) this.#fault(event, "follows the last checkpoint of its own poll");
    } else {
      if (t.batch > 0 || t.part < t.parts) {
        this.#fault(event, `a poll begins before the checkpoint of the one before, after ${t.last}`);
        t.batch = 0;
      }
      if (epoch < t.epoch || poll <= t.poll) this.#fault(event, `stands after ${t.last}`);
      t.index = 0;
      this.polls++;
    }
    if (index !== t.index + 1) {
      this.#fault(event, `has index ${index} after ${t.last}, not ${t.index + 1}: events are missing or duplicate`);
    }
    Object.assign(t, { epoch, poll, index, last: id });
    if (type !== "bpcc.feed.checkpoint.v1") {
      t.batch++;
      return;
    }
    if (t.batch !== data.events && !t.startedMidPoll) this.#fault(event, `counts ${data.events} event(s), there are ${t.batch}`);
    const observedUntil = data.observed_until ?? "";
    if (observedUntil < t.observedUntil) this.#fault(event, `observed_until goes back from ${t.observedUntil}`);
    Object.assign(t, { batch: 0, startedMidPoll: false, part: data.part, parts: data.parts, observedUntil });
  }

  /**
   * Prove that every change of an entity is there: the revisions have no gap, and
   * each image before is the last image after.
   */
  #chain(event: Event<Audited>, revision: number): void {
    const { subject, data } = event;
    const key = `${data.tenant}/${subject}`;
    const last = this.#chains.get(key);
    this.#chains.set(key, { revision, after: data.after });
    if (!last) return; // its first event here; older ones may have aged out
    if (revision !== last.revision + 1) this.#fault(event, `${key}: revision ${revision} follows ${last.revision}`);
    if (data.before && !isDeepStrictEqual(data.before, last.after)) {
      this.#fault(event, `${key}: its image before is not the last image after`);
    }
  }

  /** End the audit, in which a poll without its checkpoint is a fault, and print what was found. */
  report(): void {
    for (const [tenant, t] of this.#tenants) {
      if (t.batch > 0 || t.part < t.parts) this.faults.push(`${tenant}: no checkpoint closes the events up to ${t.last}`);
    }
    console.log(`${this.events} events of ${this.polls} polls, ${this.#chains.size} entities, ${this.afterGap} changes after a gap`);
    for (const gap of this.gaps) console.log(`gap    ${gap}`);
    for (const fault of this.faults) console.log(`FAULT  ${fault}`);
    if (this.faults.length === 0) console.log("complete: no event is missing or duplicate");
  }
}

/** Every event that the stream holds now, in order. */
async function* replay(): AsyncGenerator<string> {
  const nc = await connect({ servers: process.env.NATS_URL, name: "auditor" });
  // Without a name it is an ordered consumer: it leaves nothing behind on the
  // server, and the client itself recreates it where a message was missed.
  const consumer = await jetstream(nc).consumers.get("BPCC_EVENTS");
  if ((await consumer.info()).num_pending > 0) {
    for await (const message of await consumer.consume()) {
      yield message.string();
      // A batch is stored whole, so that the end is never within a poll.
      if (message.info.pending === 0) break;
    }
  }
  await nc.close();
}

const { values } = parseArgs({ options: { in: { type: "string" }, out: { type: "string", default: "events.ndjson" } } });
const audit = new Audit();
if (values.in) {
  for await (const line of createInterface({ input: createReadStream(values.in), crlfDelay: Infinity })) audit.read(line);
} else {
  const copy = createWriteStream(values.out);
  for await (const body of replay()) {
    audit.read(body);
    copy.write(body + "\n");
  }
  await finished(copy.end());
}
audit.report();
if (audit.faults.length > 0) process.exitCode = 1;
