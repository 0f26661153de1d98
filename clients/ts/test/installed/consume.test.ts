import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { type AgentStateChanged, check, EventIdError, type EventType, isFault, parseMessage } from "bpcc-events";
import { consume, type ConsumeOptions, lastCheckpoint, OtherTimelineError, replay } from "bpcc-events/nats";
import { dial, Publisher } from "./publisher.js";

let nc: NatsConnection;
before(async () => {
  nc = await dial();
});
after(() => nc.close());

const changes = ["bpcc.agent.state_changed.v1"] as const;

/** Consumes until n events were handled, and returns their states. */
async function handled(tenant: string, n: number, options: Partial<ConsumeOptions<(typeof changes)[number]>> = {}): Promise<(string | undefined)[]> {
  const states: (string | undefined)[] = [];
  const done = new AbortController();
  await consume(nc, { tenant, durable: tenant, types: changes, signal: done.signal, ...options }, ({ data }) => {
    states.push(data.to.state);
    if (states.length === n) done.abort();
  });
  return states;
}

test("each event is handed over once, and what throws comes again", async () => {
  const feed = new Publisher(nc, "once");
  for (const state of ["a", "b", "c", "d", "e"]) {
    await feed.state("john.smith", state);
    await feed.availability("Voice", true);
  }
  await feed.close();
  assert.deepEqual(await handled("once", 2), ["a", "b"]);
  const seen: unknown[] = [];
  const failing = consume(nc, { tenant: "once", durable: "once", types: changes, ackWait: 300 }, ({ data }) => {
    seen.push(data.to.state);
    throw new Error("disk full");
  });
  await assert.rejects(failing, /disk full/);
  assert.deepEqual(seen, ["c"]);
  assert.deepEqual(await handled("once", 3), ["c", "d", "e"]);
});

test("work that takes longer than ackWait is not done twice, by another process either", async () => {
  const feed = new Publisher(nc, "slow");
  for (const state of ["a", "b"]) await feed.state("john.smith", state);
  const states: (string | undefined)[] = [];
  const done = new AbortController();
  const options = { tenant: "slow", durable: "slow", types: changes, ackWait: 200, signal: done.signal };
  const work = async ({ data }: AgentStateChanged) => {
    states.push(data.to.state);
    if (data.to.state === "a") await new Promise((resolve) => setTimeout(resolve, 600));
    else done.abort();
  };
  await Promise.all([consume(nc, options, work), consume(nc, options, work)]);
  assert.deepEqual(states, ["a", "b"]);
});

test("what a program has stored itself is not handed over again", async () => {
  const feed = new Publisher(nc, "stored");
  const ids: string[] = [];
  for (const state of ["a", "b", "c"]) ids.push((await feed.state("john.smith", state)).id);
  const { id: end } = await feed.close();
  assert.deepEqual(await handled("stored", 2, { after: ids[0] }), ["b", "c"]);
  // A new consumer begins at the start.
  assert.deepEqual(await handled("stored", 1, { durable: "stored-2", after: ids[1] }), ["c"]);
  assert.equal((await lastCheckpoint(nc, { tenant: "stored" }))?.checkpoint.id, end);
  await assert.rejects(handled("stored", 1, { after: "stored-2-1-1" }), OtherTimelineError);
  await assert.rejects(handled("stored", 1, { after: "other-1-1-1" }), EventIdError);
  await assert.rejects(handled("stored", 1, { types: [] }), TypeError);
  await assert.rejects(handled("none", 1, { after: "none-1-1-1" }), OtherTimelineError);
});

test("foreign messages are reported, and hold up nothing", async () => {
  const feed = new Publisher(nc, "foreign");
  await feed.state("john.smith", "a");
  await feed.foreign("agent.john=2Esmith.state_changed");
  await feed.state("john.smith", "b");
  const skipped: string[] = [];
  const states = await handled("foreign", 2, { onSkipped: (err, subject) => skipped.push(`${err.name} ${subject}`) });
  assert.deepEqual(states, ["a", "b"]);
  await feed.foreign("feed.checkpoint");
  await feed.state("john.smith", "c");
  assert.deepEqual(await handled("foreign", 1, { after: "foreign-1-1-2" }), ["c"]);
  assert.deepEqual(skipped, ["ForeignMessageError bpcc.v1.foreign.agent.john=2Esmith.state_changed"]);
});

test("a consumer may begin with what comes", async () => {
  const feed = new Publisher(nc, "now");
  await feed.state("john.smith", "before");
  const done = new AbortController();
  const states: (string | undefined)[] = [];
  const consuming = consume(nc, { tenant: "now", durable: "now", types: changes, from: "now", signal: done.signal }, ({ data }) => {
    states.push(data.to.state);
    done.abort();
  });
  // Published until the consumer is there.
  while (!done.signal.aborted) {
    await feed.state("john.smith", "after");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await consuming;
  assert.deepEqual(states, ["after"]);
});

test("other settings change the consumer, and not how far it is", async () => {
  const feed = new Publisher(nc, "changed");
  const ids: string[] = [];
  const read = async (options: Partial<ConsumeOptions<EventType>>, last: string) => {
    ids.length = 0;
    const done = new AbortController();
    await consume(nc, { tenant: "changed", durable: "changed", signal: done.signal, ...options }, ({ id }) => {
      ids.push(id);
      if (id === last) done.abort();
    });
  };
  for (const options of [{ types: changes }, {}, { types: [...changes, "bpcc.feed.checkpoint.v1"] as const }, { ackWait: 5_000 }, { types: changes }]) {
    const { id } = await feed.state("john.smith", "a");
    await feed.availability("Voice", true);
    await feed.close();
    const before = ids.at(-1);
    await read(options, id);
    // The server may or may not have passed over what it did not hand over before.
    assert.ok(before === undefined || !ids.includes(before), ids.join(" "));
  }
});

test("a consumer that somebody deletes is an error", async () => {
  const feed = new Publisher(nc, "deleted");
  await feed.state("john.smith", "a");
  const consuming = consume(nc, { tenant: "deleted", durable: "deleted" }, async () => {
    await (await jetstreamManager(nc)).consumers.delete("BPCC_EVENTS", "deleted");
  });
  await assert.rejects(consuming, /consumer (deleted|not found)/i);
});

test("a connection that is closed is an error", async () => {
  const feed = new Publisher(nc, "closed");
  await feed.state("john.smith", "a");
  const connection = await dial();
  const consuming = consume(connection, { tenant: "closed", durable: "closed" }, () => void connection.close());
  await assert.rejects(consuming, /the connection was closed/);
});

test("the stream is replayed to its present end", async () => {
  const feed = new Publisher(nc, "replayed");
  for (const state of ["a", "b", "c"]) await feed.state("john.smith", state);
  await feed.close();
  const events = [];
  for await (const message of replay(nc, { tenant: "replayed" })) events.push(parseMessage(message));
  assert.deepEqual(events.map(({ type }) => type.split(".")[2]), ["state_changed", "state_changed", "state_changed", "checkpoint"]);
  assert.deepEqual([...check(events, { reads: "state_changes" })].filter(isFault), []);
  const some = [];
  for await (const message of replay(nc, { tenant: "replayed", types: ["bpcc.feed.checkpoint.v1"] })) some.push(message.seq);
  assert.equal(some.length, 1);
  for await (const message of replay(nc, { tenant: "nobody" })) assert.fail(message.subject);
  for await (const message of replay(nc, { tenant: "replayed" })) {
    assert.ok(message.seq > 0);
    break;
  }
  for await (const { config } of (await jetstreamManager(nc)).consumers.list("BPCC_EVENTS")) {
    assert.ok(!config.filter_subject?.startsWith("bpcc.v1.replayed."), "replay leaves its consumer behind");
  }
  let all = 0;
  for await (const message of replay(nc)) all += message.seq > 0 ? 1 : 0;
  assert.ok(all > events.length);
});

test("a request for messages that is lost is sent again", async () => {
  const feed = new Publisher(nc, "lost");
  await feed.state("john.smith", "a");
  await feed.close();
  const relays = await Promise.all(["LOST1", "LOST2"].map(relay));
  const replayed: string[] = [];
  const [states] = await Promise.all([
    handled("lost", 1, { jetstream: { apiPrefix: "LOST1" } }),
    (async () => {
      for await (const message of replay(nc, { tenant: "lost", jetstream: { apiPrefix: "LOST2" } })) replayed.push(parseMessage(message).type);
    })(),
  ]);
  assert.deepEqual(states, ["a"]);
  assert.equal(replayed.length, 2);
  for (const stop of relays) stop();
});

/** Passes on requests to JetStream, but for the first one for messages, of which it says that nobody takes it. */
async function relay(prefix: string): Promise<() => void> {
  let lost = false;
  const requests = nc.subscribe(`${prefix}.>`, {
    callback(_, request) {
      const lose = !lost && request.subject.includes(".MSG.NEXT.");
      lost ||= lose;
      if (!lose) return nc.publish(`$JS.API${request.subject.slice(prefix.length)}`, request.data, request.reply ? { reply: request.reply } : {});
      request.respond(undefined, { headers: headers(503, "No Responders") });
    },
  });
  await nc.flush();
  return () => requests.unsubscribe();
}
