// A program that routes calls by what the bridge knows: may a call be sent to this
// service now?
//
//     NATS_URL=nats://127.0.0.1:4222 npm run router -- --tenant demo
//
// The one rule of such a program: an answer that may be old is no answer. It says ROUTE
// only while the feed is live and recent, and HOLD, with the reason, in every other case.

import { parseArgs } from "node:util";
import { connect } from "@nats-io/transport-node";
import { View } from "bpcc-events/nats";

const { values } = parseArgs({
  options: {
    tenant: { type: "string", default: "demo" },
    limit: { type: "string", default: "35" }, // seconds; a feed without changes has a checkpoint every 30 s
    for: { type: "string", default: "0" },
  },
});
// The router survives a lost connection: its data gets old, and it refuses.
const nc = await connect({ servers: process.env.NATS_URL, name: "router", maxReconnectAttempts: -1, timeout: 2000 });
const view = View.open(nc, { tenant: values.tenant, kinds: ["availability"], staleAfter: Number(values.limit) * 1000 });

const printed = new Map<string, string>();
const end = Number(values.for) > 0 ? Date.now() + Number(values.for) * 1000 : Infinity;
process.once("SIGINT", () => void nc.close());
while (!nc.isClosed() && Date.now() < end) {
  for (const { data } of view.list("availability")) {
    const { route, reason } = await view.available(data.service);
    const line = `${route ? "ROUTE" : "HOLD "}  ${data.service.padEnd(24)} ${reason}`;
    if (line !== printed.get(data.service)) console.log(new Date().toTimeString().slice(0, 8), line);
    printed.set(data.service, line);
  }
  await new Promise((resolve) => setTimeout(resolve, 250));
}
await nc.close();
