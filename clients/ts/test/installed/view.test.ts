import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { NatsConnection } from "@nats-io/transport-node";
import { askAvailability, type Change, View, type ViewOptions } from "bpcc-events/nats";
import { Bucket, dial, iso, Publisher, until } from "./publisher.js";

let nc: NatsConnection;
const opened: View[] = [];
before(async () => {
  nc = await dial();
});
after(async () => {
  for (const view of opened) await view.close();
  await nc.close();
});

const open = (options: ViewOptions, connection = nc): View => {
  const view = View.open(connection, options);
  opened.push(view);
  return view;
};

test("a view shows whole polls", async () => {
  const feed = new Publisher(nc, "whole");
  await feed.state("john.smith", "ready");
  await feed.close();
  const updates: Change[][] = [];
  const view = open({ tenant: "whole", onUpdate: (changes) => updates.push([...changes]) });
  await view.ready();
  assert.equal(view.get("agent", "john.smith")?.data.after.acd_state, "ready");
  assert.deepEqual(updates.map((changes) => changes.map(({ key }) => key)), [["whole.agent.john=2Esmith"]]);

  await feed.state("john.smith", "busy");
  await feed.state("mary", "ready");
  await feed.availability("Voice Inbound", true);
  // Another view has read them all by now, so this one has received them.
  const other = open({ tenant: "whole" });
  await other.ready();
  await until("the same in the other view", () => other.get("agent", "mary"));
  assert.equal(view.get("agent", "john.smith")?.data.after.acd_state, "ready");
  assert.equal(view.list("agent").length, 1);

  await feed.close({ part: 1, parts: 2 });
  feed.poll--; // its second part
  feed.index = 4;
  const { id } = await feed.close({ part: 2, parts: 2, events: 0 });
  await until("the end of the poll", () => view.checkpoint?.id === id);
  assert.equal(updates.length, 2);
  assert.deepEqual(updates[1]!.map(({ key, before, after }) => [key, before?.type, after?.type]), [
    ["whole.agent.john=2Esmith", "bpcc.agent.state_changed.v1", "bpcc.agent.state_changed.v1"],
    ["whole.agent.mary", undefined, "bpcc.agent.state_changed.v1"],
    ["whole.availability.Voice=20Inbound", undefined, "bpcc.availability.observed.v1"],
  ]);
  assert.deepEqual(view.list("agent").map(({ data }) => data.agent.id), ["john.smith", "mary"]);
  assert.equal(view.get("availability", "Voice Inbound")?.data.available, true);
  assert.equal(view.get("threshold", "backlog", "Voice Inbound"), undefined);
});

test("a view that is opened within a poll waits for its last part", async () => {
  const feed = new Publisher(nc, "parts");
  await feed.state("john.smith", "ready");
  await feed.close({ part: 1, parts: 2 });
  const view = open({ tenant: "parts" });
  const other = open({ tenant: "whole" }); // is read later
  await other.ready();
  assert.equal(view.list("agent").length, 0);
  feed.poll--;
  feed.index = 2;
  await feed.state("mary", "ready");
  await feed.close({ part: 2, parts: 2, events: 1 });
  await view.ready();
  assert.equal(view.list("agent").length, 2);
});

test("who left is not there", async () => {
  const feed = new Publisher(nc, "left");
  await feed.state("*", "ready");
  await feed.close();
  const view = open({ tenant: "left" });
  await view.ready();
  assert.ok(view.get("agent", "*"));
  await feed.leave("*");
  await feed.close();
  await until("the departure", () => view.list("agent").length === 0);
});

test("an answer is yes only if it is known and fresh", async () => {
  const feed = new Publisher(nc, "answers");
  const view = open({ tenant: "answers", kinds: ["availability"] });
  await view.ready();
  const unseen = await view.available("Voice");
  assert.deepEqual([unseen.route, unseen.reason], [false, "the feed has not been seen, and the stream has no checkpoint"]);
  const answers = async (available: boolean | null, data: object = {}) => {
    await feed.availability("Voice", available);
    const { id } = await feed.close(data);
    await until("the checkpoint", () => view.checkpoint?.id === id);
    const { route, reason } = await view.available("Voice");
    return [route, reason];
  };
  const ago = (seconds: number) => iso(Date.now() - seconds * 1_000);
  assert.deepEqual(await answers(true), [true, "an agent is available"]);
  assert.deepEqual(await answers(false), [false, "no agent is available"]);
  assert.deepEqual(await answers(null), [false, "availability is unknown"]);
  assert.deepEqual(await answers(true, { availability_until: ago(44) }), [true, "an agent is available"]);
  assert.deepEqual(await answers(true, { availability_until: ago(46) }), [false, "availability was not checked for 45 s"]);
  assert.deepEqual(await answers(true, { availability_until: undefined }), [false, "availability was not checked for 45 s"]);
  assert.deepEqual(await answers(true, { observed_until: ago(40) }), [false, "the feed is older than 35 s, and the stream has no newer checkpoint"]);
  assert.deepEqual(await answers(true, { status: "interrupted" }), [false, "the feed is interrupted, and the stream has no newer checkpoint"]);
  assert.deepEqual(await answers(true), [true, "an agent is available"]);
  assert.equal((await view.available("Chat")).reason, "availability is unknown");
  await feed.foreign("availability.Voice.changed");
  await feed.close();
  await until("the foreign message", () => view.get("availability", "Voice") === undefined);
  assert.equal((await view.available("Voice")).reason, "availability is unknown");
});

test("a view that lags is overruled by a newer checkpoint of the stream, and by no other", async () => {
  const feed = new Publisher(nc, "lags");
  const bucket = await Bucket.make(nc);
  const view = open({ tenant: "lags", bucket: bucket.name });
  await view.ready();
  const answer = async () => {
    const { route, reason } = await view.available("Voice");
    return [route, reason];
  };
  const put = async (event: { id: string; data: { tenant: string } }, status: string) => {
    await bucket.put("lags.feed", { ...event, data: { ...event.data, status } });
    await until(status, () => view.checkpoint?.id === event.id && view.checkpoint.data.status === status);
  };
  // Nothing is in the view yet.
  await feed.availability("Voice", true);
  const first = await feed.close();
  assert.deepEqual(await answer(), [true, "an agent is available"]);
  // The server has written that the bridge is dead, after its last checkpoint.
  await put(first, "stale");
  assert.deepEqual(await answer(), [false, "the feed is stale, and the stream has no newer checkpoint"]);
  // It was not: the stream has a newer one, and another answer.
  await feed.availability("Voice", false);
  await feed.close();
  assert.deepEqual(await answer(), [false, "no agent is available"]);
  await feed.availability("Voice", true);
  await feed.close();
  assert.deepEqual(await answer(), [true, "an agent is available"]);
  // A newer one that is not live agrees with the view.
  await feed.close({ status: "stopped" });
  assert.deepEqual(await answer(), [false, "the feed is stale, and the stream agrees"]);
  await feed.foreign("feed.checkpoint");
  assert.match((await answer())[1] as string, /^the feed is stale, and parse event: it is not JSON$/);
});

test("a view that is not there yet, and one that is made anew, are read", async () => {
  const feed = new Publisher(nc, "anew");
  const bucket = await Bucket.make(nc);
  await bucket.delete();
  const view = open({ tenant: "anew", bucket: bucket.name, staleAfter: 1_000 });
  await until("the reason", () => /^the feed has not been seen: .*stream not found/.test(view.freshness().reason));
  await bucket.create();
  await view.ready();
  for (const agent of ["a", "b"]) await bucket.put(`anew.agent.${agent}`, await feed.state(agent, "ready"));
  await bucket.put("anew.feed", feed.checkpoint());
  await until("two agents", () => view.list("agent").length === 2);
  // The sequences of the new one begin again, and the server does not tell that the old one is gone.
  await bucket.delete();
  await bucket.create();
  await bucket.put("anew.agent.b", await feed.state("b", "busy"));
  await bucket.put("anew.feed", feed.checkpoint());
  await until("the agent that is left", () => view.list("agent").length === 1);
  assert.equal(view.get("agent", "b")?.data.after.acd_state, "busy");
});

test("a view survives a lost connection, and leaves nothing behind", async () => {
  const connection = await dial();
  const feed = new Publisher(nc, "lost");
  const bucket = await Bucket.make(nc);
  const view = open({ tenant: "lost", bucket: bucket.name }, connection);
  await view.ready();
  assert.deepEqual(await bucket.consumers(), [`$KV.${bucket.name}.lost.>`]); // a filter that permissions can name
  for (let i = 0; i < 2; i++) {
    await connection.reconnect();
    const event = feed.checkpoint(); // comes while the connection is lost
    await bucket.put("lost.feed", event);
    await until("the checkpoint", () => view.checkpoint?.id === event.id);
  }
  await view.close();
  assert.deepEqual(await bucket.consumers(), []);
  assert.ok(view.checkpoint);
  await assert.rejects(view.ready(), /closed/);
  await connection.close();
});

test("a view ends with its connection", async () => {
  const connection = await dial();
  const view = open({ tenant: "ends", bucket: "none", jetstream: { timeout: 200 } }, connection);
  await connection.close();
  await assert.rejects(view.ready(), /closed/);
  await view.close();
});

test("the bridge is asked, and no reply is no", async () => {
  const ask = async (service = "Voice Inbound", timeout = 100) => {
    const { route, reason } = await askAvailability(nc, "a.sk", service, { timeout });
    return [route, reason];
  };
  assert.deepEqual(await ask(), [false, "no bridge leads the tenant"]);
  let reply: object | string | undefined;
  const sub = nc.subscribe("bpcc.svc.a=2Esk.availability", {
    callback: (_, message) => {
      assert.deepEqual(message.json(), { service: "Voice Inbound" });
      if (reply !== undefined) message.respond(typeof reply === "string" ? reply : JSON.stringify(reply));
    },
  });
  const good = { tenant: "a.sk", service: "Voice Inbound", available: true, fresh: true, age: 1.5, max_age: 6 };
  for (const [given, route, reason] of [
    [good, true, /^an agent is available$/],
    [{ ...good, available: false }, false, /^no agent is available$/],
    [{ ...good, available: null, fresh: false }, false, /^availability is unknown$/],
    [{ ...good, fresh: false }, false, /^availability was not checked for 6 s$/],
    [{ ...good, age: 6.001 }, false, /^availability was not checked for 6 s$/],
    [{ ...good, age: null }, false, /^availability was not checked/],
    [{ ...good, service: "Chat" }, false, /^the reply is not that of the bridge$/],
    [{ ...good, available: "yes" }, false, /reply.available is no boolean or null/],
    ["hello", false, /JSON/],
    [undefined, false, /timeout/i],
  ] as const) {
    reply = given;
    const found = await ask();
    assert.equal(found[0], route, JSON.stringify(given));
    assert.match(String(found[1]), reason);
  }
  sub.unsubscribe();
});
