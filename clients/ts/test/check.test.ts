import assert from "node:assert/strict";
import { test } from "node:test";
import { type BpccEvent, check, Check, type CheckOptions, type Envelope, type Finding, isFault } from "bpcc-events";
import { events, golden } from "./golden.js";

const faults = (read: readonly (Envelope | string)[], options?: CheckOptions) => [...check(read, options)].filter(isFault);
const without = (i: number) => events.toSpliced(i, 1);
const agentsOnly = events.filter(({ type }) => type.startsWith("bpcc.agent."));
const edited = <T extends BpccEvent["type"]>(type: T, edit: (event: Extract<BpccEvent, { type: T }>) => void, nth = 0): BpccEvent[] => {
  const copy = structuredClone(events) as BpccEvent[];
  edit(copy.filter((event) => event.type === type)[nth] as Extract<BpccEvent, { type: T }>);
  return copy;
};

test("a good history has no faults, and its gaps are stated", () => {
  const found = [...check(events)];
  assert.deepEqual(found.filter(isFault), []);
  const [gap] = found;
  const resumed = events.find((event) => event.type === "bpcc.feed.resumed.v1")!;
  assert.ok(resumed.type === "bpcc.feed.resumed.v1" && gap?.kind === "gap");
  const { cause, observed } = resumed.data;
  assert.deepEqual(gap, {
    kind: "gap", tenant: "acme", id: resumed.id, after: observed.after, by: observed.by, cause, bridgeAway: false,
    message: `${cause}: nothing is known between ${observed.after} and ${observed.by}`,
  });
  assert.deepEqual([...check(golden.map(({ body }) => body))], found);
});

test("counts", () => {
  const all = new Check();
  for (const event of events) all.read(event);
  assert.equal(all.counts.events, events.length);
  assert.equal(all.counts.polls, new Set(events.map(({ data }) => data.poll)).size);
  assert.equal(all.counts.afterGap, events.filter(({ data }) => "after_gap" in data && data.after_gap).length);
  assert.equal(all.counts.entities, new Set(events.filter(({ data }) => "revision" in data).map(({ subject }) => subject)).size);
});

test("whichever event is missing, duplicate or late, it is found", () => {
  // What is cut off at either end is no hole.
  for (let i = 1; i < events.length - 1; i++) {
    const { id } = events[i]!;
    assert.ok(faults(without(i)).some(({ kind }) => kind === "hole"), `without ${id}`);
    assert.ok(faults(events.toSpliced(i, 0, events[i]!)).some(({ kind }) => kind === "fault"), `${id} twice`);
    assert.notDeepEqual(faults(without(i).toSpliced(i + 1, 0, events[i]!)), [], `${id} late`);
  }
});

test("a hole says how many events are missing, and of what", () => {
  const i = events.findIndex(({ id }) => id === "acme-1-3-5");
  const holes = faults(events.toSpliced(i, 2));
  assert.deepEqual(holes[0], { kind: "hole", tenant: "acme", id: "acme-1-3-7", missing: 2, message: "its index is 7, not 5: 2 event(s) are missing" });
  const j = events.findIndex(({ id }) => id === "acme-1-8-2");
  assert.deepEqual(faults(without(j)).find((found) => found.kind === "hole" && found.entity !== undefined), {
    kind: "hole", tenant: "acme", id: "acme-1-18-1", missing: 1, entity: "agent/anna.lopez",
    message: "revision 4 of agent/anna.lopez follows 2: 1 event(s) are missing",
  });
});

test("whole polls that are missing are found by the checkpoint that follows another one", () => {
  const rest = events.filter(({ data }) => data.poll !== 24);
  const hole = faults(rest).find(({ message }) => message.includes("follows the checkpoint"));
  assert.ok(hole?.kind === "hole" && hole.message === "it follows the checkpoint acme-1-24-2, the last one here is acme-1-21-2");
});

test("the end of a history that has no checkpoint is a hole", () => {
  const cut = events.slice(0, events.findIndex(({ id }) => id === "acme-1-8-4"));
  assert.deepEqual(faults(cut).map(({ kind, message }) => [kind, message]), [["hole", "no checkpoint closes the events up to acme-1-8-3"]]);
});

test("a history may begin anywhere", () => {
  for (let i = 0; i < events.length; i++) assert.deepEqual(faults(events.slice(i)), [], events[i]!.id);
});

test("contradictions are found", () => {
  for (const [what, history, message] of [
    ["a checkpoint that counts wrongly", edited("bpcc.feed.checkpoint.v1", (e) => e.data.events++, 1), /counts 11 event\(s\), there are 10|counts \d+ event/],
    ["a part that is missing", edited("bpcc.feed.checkpoint.v1", (e) => (e.data.part = 2), 1), /part 2 of 1/],
    ["an image that is not the last one", edited("bpcc.agent.stats_changed.v1", (e) => (e.data.before.acd_state = "busy")), /image before/],
    ["an image with one statistic more", edited("bpcc.agent.stats_changed.v1", (e) => (e.data.before.added = "")), /image before/],
    ["a revision that comes twice", edited("bpcc.agent.stats_changed.v1", (e) => e.data.revision--), /revision 2 of agent\/anna.lopez follows 2/],
  ] as const) {
    assert.ok(faults(history).some((found) => found.kind === "fault" && message.test(found.message)), `${what}: ${JSON.stringify(faults(history))}`);
  }
});

test("foreign messages are found, and what is around them is judged", () => {
  const found = [...check([golden[0]!.body, "hello", golden[1]!.body])];
  assert.deepEqual(found.map(({ kind }) => kind), ["foreign"]);
  assert.match(found[0]!.message, /^event 2 is foreign: parse event: it is not JSON$/);
});

test("an event that is none of its type is foreign", () => {
  const [before, after] = [golden[0]!.body, golden[1]!.body];
  const resumed = events.find(({ type }) => type === "bpcc.feed.resumed.v1")!;
  const data = { tenant: "acme", poll: resumed.data.poll, epoch: 1 };
  const broken: Envelope = { ...resumed, data };
  for (const event of [broken, JSON.stringify(broken)]) {
    assert.deepEqual([...check([before, event, after])].map(({ kind, message }) => [kind, message]), [["foreign", "event 2 is foreign: parse event: data has no instance"]]);
  }
});

test("events of later types count", () => {
  const later = events.map((event) => (event.type === "bpcc.totals.stats_changed.v1" ? { ...event, type: "bpcc.totals.renamed.v1" } : event));
  assert.deepEqual(faults(later), []);
});

test("some entities alone are judged by their revisions", () => {
  const entities = { reads: "entities" } as const;
  assert.deepEqual(faults(agentsOnly, entities), []);
  assert.notDeepEqual(faults(agentsOnly), []);
  const i = agentsOnly.findIndex(({ type }) => type === "bpcc.agent.stats_changed.v1");
  const [hole] = faults(agentsOnly.toSpliced(i, 1), entities);
  assert.ok(hole?.kind === "hole" && hole.missing === 1 && hole.entity === "agent/anna.lopez");
});

/** The golden events with the number of each agent's state, as the bridge counts it. */
function counted(): Envelope[] {
  const states = new Map<string, number>();
  return agentsOnly.map((event) => {
    const before = states.get(event.subject);
    const state = before === undefined ? 1 : before + (event.type === "bpcc.agent.state_changed.v1" ? 1 : 0);
    states.set(event.subject, state);
    const data = { ...event.data, state_revision: state };
    return { ...event, data };
  });
}

test("changes of state alone are judged by state_revision", () => {
  const changes = counted().filter(({ type }) => type === "bpcc.agent.state_changed.v1");
  const options = { reads: "state_changes" } as const;
  assert.deepEqual(faults(changes, options), []);
  const anna = changes.filter(({ subject }) => subject === "agent/anna.lopez");
  assert.ok(anna.length >= 3);
  for (let i = 1; i < anna.length - 1; i++) {
    const [hole] = faults(anna.toSpliced(i, 1), options);
    assert.ok(hole?.kind === "hole" && hole.missing === 1, `without ${anna[i]!.id}`);
  }
  assert.match(faults([anna[1]!, anna[0]!], options)[0]!.message, /follows/);
});

test("among other events, state_revision must rise with changes of state alone", () => {
  const all = counted();
  assert.deepEqual(faults(all, { reads: "entities" }), []);
  const i = all.findIndex(({ type }) => type === "bpcc.agent.stats_changed.v1");
  (all[i]!.data as unknown as { state_revision: number }).state_revision++;
  assert.match(faults(all, { reads: "entities" })[0]!.message, /state_revision 3 of agent\/anna\.lopez follows 2/);
});

test("who was absent may begin again, who was present may not", () => {
  const bob = agentsOnly.filter(({ subject }) => subject === "agent/bob");
  assert.equal(bob.at(-1)!.type, "bpcc.agent.disappeared.v1");
  const again = { ...bob[0]!, id: "acme-2-900-1", data: { ...bob[0]!.data, poll: 900 } } as Envelope;
  assert.deepEqual(faults([...bob, again], { reads: "entities" }), []);
  assert.match(faults([...bob.slice(0, -1), again], { reads: "entities" })[0]!.message, /revision 1 of agent\/bob follows/);
});

test("what is stated as erased is no hole, and nothing else", () => {
  const read = (erased: { first: number; last: number }[], missing: number[]): Finding[] => {
    const audit = new Check({ erased });
    const found = events.flatMap((event, i) => (missing.includes(i + 1) ? [] : audit.read(event, i + 1)));
    return [...found, ...audit.end()].filter(isFault);
  };
  const anna = events.flatMap(({ subject }, i) => (subject === "agent/anna.lopez" ? [i + 1] : []));
  const ranges = anna.map((seq) => ({ first: seq, last: seq }));
  assert.deepEqual(read(ranges, anna), []);
  assert.notDeepEqual(read(ranges, [...anna, anna.at(-1)! + 1]), []);
  assert.notDeepEqual(read(ranges.slice(1), anna), []);
});

test("a term that ends between the parts of a poll leaves the poll as it is, a gap between parts is found", () => {
  const part = (id: string, n: number, parts: number, follows?: string): Envelope => {
    const event = structuredClone(events.find(({ type }) => type === "bpcc.feed.checkpoint.v1")!) as Envelope;
    const [, epoch, poll] = id.split("-").map(Number);
    return { ...event, id, data: { ...event.data, poll: poll!, epoch, part: n, parts, events: 0, ...(follows !== undefined && { follows }) } } as Envelope;
  };
  assert.deepEqual(faults([part("acme-1-1-1", 1, 3), part("acme-1-1-2", 2, 3, "acme-1-1-1"), part("acme-2-2-1", 1, 1, "acme-1-1-2")]), []);
  assert.match(faults([part("acme-1-1-1", 1, 2), part("acme-1-2-1", 1, 1, "acme-1-1-1")])[0]!.message, /no checkpoint closes/);
  assert.match(faults([part("acme-1-1-1", 1, 1), part("acme-1-1-2", 2, 2, "acme-1-1-1")])[0]!.message, /follows the last checkpoint of its own poll/);
  assert.match(faults([part("acme-1-1-1", 1, 2)])[0]!.message, /no checkpoint closes/);
  assert.match(faults([part("acme-1-5-1", 1, 1), part("acme-2-4-1", 1, 1, "acme-1-5-1")])[0]!.message, /does not count on/);
});
