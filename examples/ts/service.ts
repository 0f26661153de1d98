// A service that does something once for every change of an agent's state: here it
// writes a line into a ledger.
//
//     NATS_URL=nats://127.0.0.1:4222 npm run service -- --tenant demo
//
// End it in any way, start it again: no change is in the ledger twice or missing. Where
// you have a database, store the id and the effect of an event in one transaction.

import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { connect } from "@nats-io/transport-node";
import { consume } from "bpcc-events/nats";

const option = (value: string) => ({ type: "string", default: value }) as const;
const { values } = parseArgs({ options: { tenant: option("demo"), durable: option("example-service"), ledger: option("state-changes.ndjson"), for: option("0") } });
const { tenant, durable } = values;
const ledger = openSync(values.ledger, "a+", 0o640);
const text = readFileSync(values.ledger);
const complete = text.subarray(0, text.lastIndexOf("\n") + 1); // a crash may have cut the last line off
ftruncateSync(ledger, complete.length);
const lines = complete.toString().split("\n").slice(0, -1);
const last = lines.length > 0 ? (JSON.parse(lines.at(-1)!) as { id: string }).id : undefined;
console.log(`${lines.length} changes are in ${values.ledger}`);

const ending = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => ending.abort());
if (Number(values.for) > 0) setTimeout(() => ending.abort(), Number(values.for) * 1000);
const nc = await connect({ servers: process.env.NATS_URL, name: durable, maxReconnectAttempts: -1 });
await consume(nc, { tenant, durable, types: ["bpcc.agent.state_changed.v1"], after: last, ackWait: 5_000, signal: ending.signal }, ({ id, data }) => {
  const { agent, from, to, observed } = data;
  writeSync(ledger, JSON.stringify({ id, agent: agent.id, from: from.state, to: to.state, ...observed }) + "\n");
  fsyncSync(ledger); // an acknowledged event must outlive a power cut
  lines.push(id);
});
console.log(`${lines.length} changes are in ${values.ledger} now`);
await nc.drain();
closeSync(ledger);
