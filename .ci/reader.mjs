// A reader of the bridge's stream, as any program with a NATS client could be.

import { connect } from "@nats-io/transport-node";
import { jetstream, JetStreamError } from "@nats-io/jetstream";
import { Contract } from "./contract.mjs";
import { sleep } from "./process.mjs";

export class Reader {
  /** Read a stream from its start, and go on; wait for it if it is not made yet. */
  static async open(url, stream = "BPCC_EVENTS") {
    const reader = new Reader();
    reader.contract = new Contract();
    reader.stored = [];
    reader.nc = await connect({ servers: url, timeout: 5000 });
    reader.js = jetstream(reader.nc);
    // Without a name it is an ordered consumer: the client itself starts it
    // anew after a gap, so what arrives is the stream's own order.
    const consumer = await reader.until(`stream ${stream}`, () =>
      reader.js.consumers.get(stream).catch((err) => {
        if (err instanceof JetStreamError) return null; // not there
        throw err;
      }),
    );
    reader.messages = await consumer.consume({
      callback: (m) => {
        const message = { subject: m.subject, sequence: m.seq, header: (name) => m.headers?.get(name) ?? "", body: m.string() };
        reader.stored.push(message);
        reader.contract.read(message);
      },
    });
    return reader;
  }

  get events() {
    return this.contract.events;
  }

  /** The place in the stream that has been read up to: where a step begins. */
  mark() {
    return this.events.length;
  }

  /** Wait for an event after a mark that look() accepts. */
  async event(what, from, look, seconds = 15) {
    return this.until(what, () => this.events.slice(from).find(look), seconds);
  }

  /** Wait until look() finds something. */
  async until(what, look, seconds = 15) {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      const found = await look();
      if (found) return found;
      if (Date.now() > deadline) {
        const last = this.events.slice(-12).map((e) => `    ${e.event.id} ${e.event.type} ${e.event.subject}`);
        throw new Error(`${what}: not seen within ${seconds} s; the last events are\n${last.join("\n")}`);
      }
      await sleep(20);
    }
  }

  async close() {
    await this.messages.close();
    await this.nc.close();
  }
}
