// Judges the schemas and the AsyncAPI document as strict readers do: Ajv in strict mode takes every schema without a
// warning, and Spectral's rules for AsyncAPI find nothing, hints included.
//
//	node .ci/schemas/lint.mjs

import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const here = path.dirname(fileURLToPath(import.meta.url));
const schemas = path.join(here, "..", "..", "schemas");
const faults = [];
let n = 0;

for (const dir of ["v1", "config"]) {
  for (const file of readdirSync(path.join(schemas, dir)).filter((name) => name.endsWith(".json"))) {
    const said = (...words) => faults.push(`${dir}/${file}: ${words.join(" ")}`);
    const ajv = new Ajv2020({ strict: true, logger: { log: said, warn: said, error: said } });
    addFormats(ajv);
    try {
      const schema = JSON.parse(readFileSync(path.join(schemas, dir, file), "utf8"));
      const validate = ajv.compile(schema); // each alone: none refers to another
      for (const example of schema.examples ?? []) {
        if (!validate(example)) said(ajv.errorsText(validate.errors));
      }
    } catch (err) {
      said(err.message);
    }
    n++;
  }
}
console.log(`Ajv: ${n} schemas, ${faults.length} warnings`);
for (const fault of faults) console.log(fault);

const rules = ["--ruleset", path.join(here, "spectral.yaml"), "--fail-severity", "hint"];
const spectral = spawnSync(path.join(here, "node_modules", ".bin", "spectral"), ["lint", ...rules, path.join(schemas, "asyncapi.yaml")], { stdio: "inherit" });
process.exit(n > 0 && faults.length === 0 && spectral.status === 0 ? 0 : 1);
