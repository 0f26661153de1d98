// A program that copies the history to a file and proves it complete: no event missing,
// none duplicate, gaps stated.
//
//     NATS_URL=nats://127.0.0.1:4222 npm run auditor -- --out events.ndjson
//     npm run auditor -- --in events.ndjson
//
// The first reads the stream to its present end, and writes each event as it is stored,
// one a line. The second judges such a file, without any server. Both end with status 1
// if anything is wrong.

import { createReadStream, createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { finished } from "node:stream/promises";
import { parseArgs } from "node:util";
import { connect } from "@nats-io/transport-node";
import { Check, type Finding, isFault } from "bpcc-events";
import { replay } from "bpcc-events/nats";

const { values } = parseArgs({ options: { in: { type: "string" }, out: { type: "string", default: "events.ndjson" } } });
const audit = new Check();
const print = (found: Finding[]) => {
  for (const finding of found) console.log(isFault(finding) ? "FAULT " : finding.kind.padEnd(6), finding.tenant, finding.id, finding.message);
  if (found.some(isFault)) process.exitCode = 1;
};
if (values.in) {
  for await (const line of createInterface({ input: createReadStream(values.in), crlfDelay: Infinity })) print(audit.read(line));
} else {
  const nc = await connect({ servers: process.env.NATS_URL, name: "auditor" });
  const copy = createWriteStream(values.out);
  for await (const message of replay(nc)) {
    print(audit.read(message.data, message.seq));
    copy.write(`${message.string()}\n`);
  }
  await Promise.all([finished(copy.end()), nc.close()]);
}
print(audit.end());
console.log(`${audit.counts.events} events of ${audit.counts.polls} polls, ${audit.counts.entities} entities, ${audit.counts.afterGap} changes after a gap`);
if (!process.exitCode) console.log("complete: no event is missing or duplicate");
