import assert from "node:assert/strict";
import { test } from "node:test";
import {
  compareEventIds, EventIdError, eventType, formatEventId, formatSubject, parseEventId, parseEventType, parseSubject, parseViewKey,
  SubjectError, subjectFilter, subjectParts, viewKey,
} from "bpcc-events";
import { events, golden } from "./golden.js";

test("every golden event belongs on its subject, and says so itself", () => {
  assert.deepEqual(events.map((event) => formatSubject(subjectParts(event))), golden.map(({ subject }) => subject));
  for (const [i, { subject }] of golden.entries()) {
    const parts = parseSubject(subject);
    assert.equal(eventType(parts), events[i]!.type);
    assert.deepEqual(parseEventType(events[i]!.type), { kind: parts.kind, verb: parts.verb });
  }
});

test("subjects, view keys and types", () => {
  for (const [subject, parts, key, type] of [
    ["bpcc.v1.acme.agent.john=2Esmith.state_changed", ["acme", "agent", ["john.smith"], "state_changed"], "acme.agent.john=2Esmith", "bpcc.agent.state_changed.v1"],
    ["bpcc.v1.a=2Eb.threshold.backlog.Voice=20Inbound.raised", ["a.b", "threshold", ["backlog", "Voice Inbound"], "raised"], "a=2Eb.threshold.backlog.Voice=20Inbound", "bpcc.threshold.raised.v1"],
    ["bpcc.v1.acme.feed.checkpoint", ["acme", "feed", [], "checkpoint"], "acme.feed", "bpcc.feed.checkpoint.v1"],
    ["bpcc.v1.acme.feed.resumed", ["acme", "feed", [], "resumed"], undefined, "bpcc.feed.resumed.v1"],
    ["bpcc.v1.acme.chat.message_posted", ["acme", "chat", [], "message_posted"], undefined, "bpcc.chat.message_posted.v1"],
    ["bpcc.v1.acme.directory.teams.changed", ["acme", "directory", ["teams"], "changed"], "acme.directory.teams", "bpcc.directory.changed.v1"],
  ] as const) {
    const [tenant, kind, ids, verb] = parts;
    assert.deepEqual(parseSubject(subject), { tenant, kind, ids: [...ids], verb });
    assert.equal(formatSubject({ tenant, kind, ids, verb }), subject);
    assert.equal(viewKey({ tenant, kind, ids, verb }), key);
    assert.equal(eventType({ kind, verb }), type);
    if (key !== undefined) assert.deepEqual(parseViewKey(key), { tenant, kind, ids: [...ids] });
  }
});

test("names of others are refused", () => {
  for (const subject of ["", "bpcc.v1", "bpcc.v1.acme", "bpcc.v1.acme.agent", "bpcc.v2.acme.feed.checkpoint", "bpcc.v1..feed.checkpoint", "bpcc.v1.acme.agent.*.observed", "bpcc.v1.acme.agent..observed", "bpcc.v1.acme.Agent.x.observed", "bpcc.v1.acme.agent.x.>"]) {
    assert.throws(() => parseSubject(subject), SubjectError, subject);
  }
  for (const key of ["", "acme", "acme.", ".feed", "acme.agent.", "acme.agent.a b"]) assert.throws(() => parseViewKey(key), SubjectError, key);
  for (const type of ["", "bpcc.agent.v1", "bpcc.agent.observed.v2", "agent.observed", "bpcc.agent.observed.v1.v1"]) assert.throws(() => parseEventType(type), SubjectError, type);
});

test("filters of types", () => {
  assert.equal(subjectFilter("acme", "bpcc.agent.state_changed.v1"), "bpcc.v1.acme.agent.*.state_changed");
  assert.equal(subjectFilter("a.b", "bpcc.threshold.raised.v1"), "bpcc.v1.a=2Eb.threshold.*.*.raised");
  assert.equal(subjectFilter(undefined, "bpcc.feed.erased.v1"), "bpcc.v1.*.feed.erased");
  assert.equal(subjectFilter("acme", "bpcc.feed.checkpoint.v1"), "bpcc.v1.acme.feed.checkpoint");
});

test("ids of events and their order", () => {
  assert.deepEqual(parseEventId("acme-3-18250-7"), { tenant: "acme", epoch: 3, poll: 18250, index: 7 });
  assert.deepEqual(parseEventId("a-1-b-3-18250-0"), { tenant: "a-1-b", epoch: 3, poll: 18250, index: 0 });
  for (const id of ["", "acme", "acme-1-2", "-1-2-3", "acme-0-2-3", "acme-1-2-03", "acme-1-2-3 ", "acme-1-2--3", "acme-1-2-99999999999999999999"]) {
    assert.throws(() => parseEventId(id), EventIdError, id);
  }
  const ids = ["t-1-9-10", "t-1-10-1", "t-1-10-2", "t-2-11-1"].map(parseEventId);
  for (const [i, a] of ids.entries()) {
    assert.equal(formatEventId(a), ["t-1-9-10", "t-1-10-1", "t-1-10-2", "t-2-11-1"][i]);
    for (const [j, b] of ids.entries()) assert.equal(Math.sign(compareEventIds(a, b)), Math.sign(i - j));
  }
  for (const [i, { id }] of events.entries()) {
    if (i > 0) assert.ok(compareEventIds(parseEventId(events[i - 1]!.id), parseEventId(id)) < 0, id);
  }
});
