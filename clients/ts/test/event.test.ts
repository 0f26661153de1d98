import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  type BpccEvent, ForeignMessageError, isKind, isKnown, MessageError, parseEnvelope, parseEvent, parseMessage, parseViewValue, UnknownTypeError, viewKey, subjectParts,
} from "bpcc-events";
import { events, find, golden, root } from "./golden.js";

const headers = (id: string) => ({ get: (name: string) => (name === "Nats-Msg-Id" ? id : "") });

const edited = (edit: (event: any) => void, event: BpccEvent = find("bpcc.agent.state_changed.v1")): string => {
  const copy = structuredClone(event);
  edit(copy);
  return JSON.stringify(copy);
};

test("the golden events are read from text and from bytes, on their subjects and under their keys", () => {
  for (const [i, { subject, body }] of golden.entries()) {
    const event = events[i]!;
    assert.deepEqual(parseMessage({ subject, data: new TextEncoder().encode(body), headers: headers(event.id) }), JSON.parse(body));
    const key = viewKey(subjectParts(event));
    if (key !== undefined) assert.deepEqual(parseViewValue(key, body), event);
  }
});

test("the examples of all schemas are read", () => {
  const schema = JSON.parse(readFileSync(new URL("schemas/v1/event.json", root), "utf8")) as { oneOf: unknown[] };
  const examples = [...schemaExamples()];
  assert.equal(new Set(examples.map(({ type }) => type)).size, schema.oneOf.length);
  for (const example of examples) assert.ok(isKnown(parseEvent(JSON.stringify(example))));
});

function* schemaExamples(): Generator<BpccEvent> {
  const { oneOf, $defs } = JSON.parse(readFileSync(new URL("schemas/v1/event.json", root), "utf8")) as {
    oneOf: { $ref: string }[];
    $defs: Record<string, { properties: { type: { const: string } } }>;
  };
  for (const { $ref } of oneOf) {
    const name = $defs[$ref.split("/").pop()!]!.properties.type.const.slice("bpcc.".length, -".v1".length);
    const { examples } = JSON.parse(readFileSync(new URL(`schemas/v1/${name}.json`, root), "utf8")) as { examples: BpccEvent[] };
    yield* examples;
  }
}

test("foreign messages are refused, with the reason", () => {
  for (const [what, body, reason] of [
    ["nothing", "", /not JSON/],
    ["text", "hello", /not JSON/],
    ["another value", "[1]", /event is no object/],
    ["null", "null", /event is no object/],
    ["another document", '{"a":1}', /event has no specversion/],
    ["another version of CloudEvents", edited((e) => (e.specversion = "0.3")), /specversion/],
    ["no data", edited((e) => delete e.data), /has no data/],
    ["data of another kind", edited((e) => (e.data = [])), /data is no object/],
    ["no tenant", edited((e) => delete e.data.tenant), /has no tenant/],
    ["another tenant", edited((e) => (e.data.tenant = "other")), /different polls/],
    ["another poll", edited((e) => e.data.poll++), /different polls/],
    ["another epoch", edited((e) => e.data.epoch++, find("bpcc.feed.checkpoint.v1")), /different polls/],
    ["no id", edited((e) => (e.id = "x")), /tenant, epoch, poll and index/],
    ["another type", edited((e) => (e.type = "com.example.thing")), /type/],
    ["another major version", edited((e) => (e.type = "bpcc.agent.state_changed.v2")), /type/],
    ["the schema of another type", edited((e) => (e.dataschema += "x")), /dataschema/],
    ["no revision", edited((e) => delete e.data.revision), /has no revision/],
    ["a revision that is text", edited((e) => (e.data.revision = "1")), /revision is no integer/],
    ["no agent's id", edited((e) => (e.data.agent.id = "")), /agent.id is empty/],
    ["no image", edited((e) => delete e.data.after), /has no after/],
    ["a statistic that is a number", edited((e) => (e.data.after.state_duration = 3)), /state_duration is no string/],
    ["an optional field of another type", edited((e) => (e.data.after_gap = "yes")), /after_gap is no boolean/],
    ["a status that is none", edited((e) => (e.data.status = "fine"), find("bpcc.feed.checkpoint.v1")), /status is none of/],
  ] as const) {
    assert.throws(() => parseEvent(body), (err) => err instanceof ForeignMessageError && reason.test(err.message), what);
  }
  assert.throws(() => parseEvent(Uint8Array.of(0x22, 0xff, 0x22)), ForeignMessageError);
});

test("fields and words of later versions are accepted", () => {
  const event = parseEvent(edited((e) => {
    e.data.added_later = { x: 1 };
    e.traceparent = "00-1";
    e.data.to.state = "meditating";
  }));
  assert.ok(event.type === "bpcc.agent.state_changed.v1" && event.data.to.state === "meditating");
  const resumed = find("bpcc.feed.resumed.v1");
  parseEvent(edited((e) => (e.data.cause = "sunspots"), resumed));
});

test("an event of a later type is told from a foreign message", () => {
  const body = edited((e) => {
    e.type = "bpcc.agent.team_changed.v1";
    e.dataschema = "urn:bpcc:schema:v1:agent.team_changed";
  });
  assert.throws(() => parseEvent(body), (err) => err instanceof UnknownTypeError && err instanceof MessageError && err.event.data.tenant === "acme");
  assert.equal(isKnown(parseEnvelope(body)), false);
  assert.equal(isKnown({ ...parseEnvelope(body), type: "toString" }), false);
});

test("a message must stand on its subject and have its id", () => {
  const { subject, body } = golden[0]!;
  const { id } = events[0]!;
  assert.throws(() => parseMessage({ subject: subject + "x", data: body, headers: headers(id) }), /content belongs on bpcc\.v1\.acme\.feed\.started/);
  assert.throws(() => parseMessage({ subject, data: body, headers: headers("other") }), ForeignMessageError);
  assert.throws(() => parseMessage({ subject, data: body }), ForeignMessageError);
  assert.throws(() => parseViewValue("acme.feed", body), /belongs in no key/);
  assert.throws(() => parseViewValue("acme.agent.x", edited(() => undefined)), /belongs under acme\.agent\.anna=2Elopez/);
});

test("whatever is broken in an event, it is read or refused with a typed error", () => {
  let state = 7;
  const random = (n: number) => (state = (state * 48271) % 0x7fffffff) % n;
  const values = [null, 0, -1, 1.5, "", "x", [], {}, true, "acme-1-1-1"];
  const holders = (value: unknown): Record<string, unknown>[] =>
    typeof value === "object" && value !== null ? [value as Record<string, unknown>, ...Object.values(value).flatMap(holders)] : [];
  let refused = 0;
  for (let i = 0; i < 5_000; i++) {
    const event = structuredClone(events[random(events.length)]!);
    const all = holders(event);
    const holder = all[random(all.length)]!;
    const names = Object.keys(holder);
    const name = names[random(names.length)] ?? "new";
    if (random(3) === 0) delete holder[name];
    else holder[name] = values[random(values.length)];
    try {
      subjectParts(parseEvent(JSON.stringify(event)));
    } catch (err) {
      assert.ok(err instanceof MessageError, String(err));
      refused++;
    }
  }
  assert.ok(refused > 1_000 && refused < 5_000, `${refused} refused`);
});

test("the union narrows on type and kind", () => {
  const event = events.find(({ type }) => type === "bpcc.agent.state_changed.v1")!;
  assert.ok(event.type === "bpcc.agent.state_changed.v1");
  const state: string | undefined = event.data.to.state;
  assert.equal(state, "not_ready");
  // @ts-expect-error A checkpoint has other data.
  assert.equal(event.data.status, undefined);
  const known: "auth" | "source" | (string & {}) = find("bpcc.feed.resumed.v1").data.cause;
  assert.ok(known);
  const any: BpccEvent = event;
  if (isKind(any, "agent")) assert.ok(any.data.agent.id);
  // @ts-expect-error There is no such type.
  assert.equal(any.type === "bpcc.agent.renamed.v1", false);
  // Statistics are text, and may be missing.
  const calls: string | undefined = event.data.after.in_calls_handled_per_day;
  assert.equal(calls, "12");
});
