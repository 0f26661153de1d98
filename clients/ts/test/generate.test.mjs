import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { generate, knownWords, readSchema } from "../scripts/generate.mjs";

const names = (text) => [...text.matchAll(/^export (?:interface|type) (\w+)/gm)].map(([, name]) => name);

test("the generated files are those of the schemas", async () => {
  for (const [file, text] of await generate(readSchema())) {
    assert.equal(readFileSync(new URL(`../${file}`, import.meta.url), "utf8"), text, `${file} is out of date: run npm run generate`);
  }
});

test("a new optional field anywhere renames no type", async () => {
  const before = names((await generate(readSchema())).get("src/events.ts"));
  assert.ok(before.includes("BpccEvent") && before.includes("AgentStateChanged") && before.includes("AgentState"));
  const schema = readSchema();
  for (const part of Object.values(schema.$defs)) {
    if (part.properties) part.properties.added_later = { type: "string", description: "Added later." };
  }
  const after = (await generate(schema)).get("src/events.ts");
  assert.deepEqual(names(after), before);
  assert.match(after, /added_later\?: string/);
});

test("open sets have their known words", () => {
  const found = {};
  for (const [name, { properties = {} }] of Object.entries(readSchema().$defs)) {
    for (const [field, schema] of Object.entries(properties)) {
      const words = knownWords(schema);
      if (words.length > 0) (found[field] ??= {})[name] = words.join(" ");
    }
  }
  const causes = "auth source nats subscription_lost truncated empty frozen outdated";
  const reasons = "timeout refused throttled unavailable malformed unexpected not_checked service_removed not_configured";
  assert.deepEqual(found, {
    state: { AgentState: "ready not_ready busy after_call_work logged_out" },
    cause: { FeedInterruptedData: causes, FeedResumedData: causes },
    reason: { AvailabilityChangedData: reasons, AvailabilityObservedData: reasons },
    cleared_by: { ThresholdClearedData: "condition rule_removed entity_gone stat_unavailable" },
  });
});

test("a closed set stays closed, and statistics are text", () => {
  const text = readFileSync(new URL("../src/events.ts", import.meta.url), "utf8");
  assert.match(text, /type FeedStatus = "live" \| "interrupted" \| "stopped" \| "stale";/);
  assert.match(text, /interface AgentImage \{[^}]*state_duration\?: string;[^}]*\[k: string\]: string \| undefined;/);
});
