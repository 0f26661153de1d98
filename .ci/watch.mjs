// Reads along with a bridge that somebody else has started, from the start of its
// stream, until it has seen enough of every kind of change.
//
//	node .ci/watch.mjs nats://127.0.0.1:4222

import { Reader } from "./reader.mjs";

const [url] = process.argv.slice(2);
const began = Date.now();
const reader = await Reader.open(url);

let failed = "";
try {
  const seen = (name) => reader.events.some((e) => e.name === name);
  for (const name of ["feed.started", "agent.observed", "agent.state_changed", "agent.stats_changed", "service.stats_changed", "totals.stats_changed"]) {
    await reader.until(name, () => seen(name), 12);
  }
  await reader.until("5 changes of state", () => reader.events.filter((e) => e.name === "agent.state_changed").length >= 5, 12);
} catch (err) {
  failed = err.message;
}
const held = reader.contract.report();
await reader.close();
if (failed) console.log(`FAIL  ${failed}`);
console.log(`\nwatch: ${reader.events.length} events, ${((Date.now() - began) / 1000).toFixed(1)} s`);
process.exit(failed || !held ? 1 : 0);
