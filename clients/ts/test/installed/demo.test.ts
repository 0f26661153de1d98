import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { NatsConnection } from "@nats-io/transport-node";
import { type AgentState, type BpccEvent, Check, type Finding, isFault, isKind, parseMessage } from "bpcc-events";
import { askAvailability, consume, replay, View } from "bpcc-events/nats";
import { dial, until } from "./publisher.js";

// A bridge with a simulated tenant, as in `bridge demo`, which .ci/clients.mjs has started.
const tenant = "demo";
let nc: NatsConnection;
let view: View;
before(async () => {
  await sim("services/Voice%20Inbound", { stats: { in_calls_waiting: "0" } });
  nc = await dial();
  view = View.open(nc, { tenant, staleAfter: 10_000 });
  await view.ready();
  await until("a fresh feed", () => view.freshness().fresh);
});
after(() => nc.close());

async function sim(path: string, body: object): Promise<void> {
  const answer = await fetch(`${process.env.SIM_URL}/sim/${path}`, { method: "PUT", body: JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
}

/** A state that narrows to the words that are known, and accepts others. */
function word(state: AgentState["state"]): string {
  switch (state) {
    case "ready":
    case "not_ready":
      return `known ${state}`;
    default:
      return state ?? "none";
  }
}

test("changes are in the view and come to the handler, once each", async () => {
  const agent = "o'brien@example.com";
  await sim(`agents/${encodeURIComponent(agent)}`, { first: "Pat", last: "O'Brien", team: "Sales", services: ["Voice Inbound"], state: "ready" });
  await until("the agent", () => view.get("agent", agent));
  const seen: string[] = [];
  const done = new AbortController();
  const consuming = consume(nc, { tenant, durable: "installed", types: ["bpcc.agent.state_changed.v1"], signal: done.signal }, ({ data }) => {
    if (data.agent.id === agent) seen.push(`${data.from.state} → ${word(data.to.state)}${data.to.reason ? ` (${data.to.reason})` : ""}`);
    if (seen.length === 3) done.abort();
  });
  for (const [state, reason] of [["not_ready", "Lunch"], ["ready", ""], ["in_training", ""]] as const) {
    await sim(`agents/${encodeURIComponent(agent)}`, { state, reason });
    await until(state, () => view.get("agent", agent)?.data.after.acd_state === state);
  }
  await consuming;
  assert.deepEqual(seen, ["ready → known not_ready (Lunch)", "not_ready → known ready", "ready → in_training"]);
});

test("availability is answered from the view, and by the bridge", async () => {
  for (const available of [false, true]) {
    await sim("availability/Voice%20Inbound", { available });
    await until(String(available), async () => (await view.available("Voice Inbound")).available === available);
    assert.equal((await view.available("Voice Inbound")).route, available);
    const asked = await askAvailability(nc, tenant, "Voice Inbound");
    assert.deepEqual([asked.route, asked.available], [available, available], asked.reason);
    assert.ok(asked.age !== null && asked.age < 5_000, String(asked.age));
  }
  const { route, reason } = await askAvailability(nc, tenant, "Nobody");
  assert.deepEqual([route, reason], [false, "the bridge answers: no availability of this service is published"]);
});

test("when the bridge stops, no answer is yes", async () => {
  process.kill(Number(process.env.BRIDGE_PID), "SIGTERM");
  await until("the end", () => view.freshness().status === "stopped");
  const { route, reason } = await view.available("Voice Inbound");
  assert.deepEqual([route, reason], [false, "the feed is stopped, and the stream has no newer checkpoint"]);
  await until("nobody to ask", async () => (await askAvailability(nc, tenant, "Voice Inbound")).reason === "no bridge leads the tenant");
});

test("the stream is complete, and all of it has types", async () => {
  const events: BpccEvent[] = [];
  const audit = new Check();
  const found: Finding[] = [];
  for await (const message of replay(nc, { tenant })) {
    const event = parseMessage(message);
    events.push(event);
    found.push(...audit.read(event, message.seq));
  }
  found.push(...audit.end());
  assert.deepEqual(found.filter(isFault), []);
  assert.ok(audit.counts.events > 20 && audit.counts.entities > 3, JSON.stringify(audit.counts));
  // The view is the fold of the stream.
  const agents = new Map<string, BpccEvent>();
  for (const event of events) if (isKind(event, "agent")) agents.set(event.data.agent.id, event);
  assert.deepEqual(view.list("agent").map(({ id }) => id).sort(), [...agents.values()].map(({ id }) => id).sort());
});
