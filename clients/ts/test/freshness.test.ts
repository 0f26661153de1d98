import assert from "node:assert/strict";
import { test } from "node:test";
import { type FeedCheckpoint, freshness } from "bpcc-events";
import { find } from "./golden.js";

const now = Date.parse("2026-11-23T10:00:00Z");
const checkpoint = (data: Partial<FeedCheckpoint["data"]>): FeedCheckpoint => {
  const event = find("bpcc.feed.checkpoint.v1");
  return { ...event, data: { ...event.data, status: "live", observed_until: "2026-11-23T09:59:50Z", ...data } };
};

test("a live and recent feed is fresh", () => {
  const found = freshness(checkpoint({ availability_until: "2026-11-23T09:59:48Z" }), { now });
  assert.deepEqual(found, {
    fresh: true, status: "live", reason: "",
    observedUntil: new Date(now - 10_000), age: 10_000,
    availabilityUntil: new Date(now - 12_000), availabilityAge: 12_000,
  });
});

test("why a feed is not fresh", () => {
  for (const [what, event, options, reason] of [
    ["unseen", undefined, {}, "the feed has not been seen"],
    ["stale", checkpoint({ status: "stale" }), {}, "the feed is stale"],
    ["interrupted", checkpoint({ status: "interrupted" }), {}, "the feed is interrupted"],
    ["stopped", checkpoint({ status: "stopped" }), {}, "the feed is stopped"],
    ["nothing observed", checkpoint({ observed_until: null }), {}, "the feed has observed nothing yet"],
    ["old", checkpoint({ observed_until: "2026-11-23T09:59:24.999Z" }), {}, "the feed is older than 35 s"],
    ["just not old", checkpoint({ observed_until: "2026-11-23T09:59:25Z" }), {}, ""],
    ["older than another limit", checkpoint({}), { staleAfter: 9_999 }, "the feed is older than 9.999 s"],
    ["no time", checkpoint({ observed_until: "soon" }), {}, "the feed is older than 35 s"],
    ["known for long, while the clock was set back", checkpoint({}), { now: now - 600_000, knownFor: 36_000, staleAfter: 1e9 }, ""],
    ["known for too long", checkpoint({}), { now: now - 11_000, knownFor: 36_000 }, "the feed is older than 35 s"],
    ["stored before it was observed", checkpoint({}), { stored: new Date(now - 36_000) }, "the feed is older than 35 s"],
    ["stored after it was observed", checkpoint({}), { stored: new Date(now - 1_000), staleAfter: 9_999 }, "the feed is older than 9.999 s"],
    ["far ahead of this machine's clock", checkpoint({}), { now: now - 60_000 }, "the feed is ahead of this machine's clock"],
    ["a little ahead of it", checkpoint({}), { now: now - 12_000 }, ""],
  ] as const) {
    const found = freshness(event, { now, ...options });
    assert.equal(found.reason, reason, what);
    assert.equal(found.fresh, reason === "", what);
  }
});

test("without availabilities their age is not known", () => {
  const event = checkpoint({});
  delete event.data.availability_until;
  const { availabilityUntil, availabilityAge } = freshness(event, { now });
  assert.deepEqual([availabilityUntil, availabilityAge], [null, null]);
});
