// Generates TypeScript from the schema of any event or from the AsyncAPI document, with Modelina:
//
//	node modelina.mjs event.json > events.ts
//	node modelina.mjs asyncapi.yaml > events.ts

import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { TypeScriptGenerator, typeScriptDefaultModelNameConstraints } from "@asyncapi/modelina";

const file = process.argv[2];
const generator = new TypeScriptGenerator({
  modelType: "interface",
  enumType: "union",
  mapType: "record",
  rawPropertyNames: true,
  // Without it every object gets a field additionalProperties, which no event has.
  processorOptions: { interpreter: { ignoreAdditionalProperties: true } },
  typeMapping: { Any: () => "unknown" },
  // A type of AsyncAPI is named by its schema's title, bpcc.agent.observed.v1, and without it has "Dot" for a point.
  constraints: { modelName: typeScriptDefaultModelNameConstraints({ NO_SPECIAL_CHAR: (name) => name.replace(/\W/g, " ") }) },
});

/** What Modelina is given: the schema as one of the newest draft that it knows, or the address of the document. */
function input() {
  if (path.extname(file) !== ".json") return pathToFileURL(file).href;
  return { ...JSON.parse(readFileSync(file, "utf8")), $schema: "http://json-schema.org/draft-07/schema#" };
}

for (const { result } of await generator.generate(input())) process.stdout.write(`export ${result}\n\n`);
