import { readFileSync } from "node:fs";
import { type BpccEvent, parseEvent } from "bpcc-events";

/** The repository's root, from test/build. */
export const root = new URL("../../../../", import.meta.url);

/** A recorded day, which the bridge's own tests publish: subject and body of each message. */
export const golden = readFileSync(new URL("bridge/testdata/golden/events.ndjson", root), "utf8").trimEnd().split("\n").map((line) => {
  const space = line.indexOf(" ");
  return { subject: line.slice(0, space), body: line.slice(space + 1) };
});

export const events: readonly BpccEvent[] = golden.map(({ body }) => parseEvent(body));

/** The first event of a type. */
export function find<T extends BpccEvent["type"]>(type: T): Extract<BpccEvent, { type: T }> {
  const event = events.find((event) => event.type === type);
  if (!event) throw new Error(`no ${type} in the golden events`);
  return structuredClone(event) as Extract<BpccEvent, { type: T }>;
}
