// Writes src/events.ts and src/schemas.ts from the schema of any event:
//
//     npm run generate
//
// The first has a type for each event, the second what parseEvent checks of an event.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compile } from "json-schema-to-typescript";

/** The schema of any event. */
export function readSchema() {
  return JSON.parse(readFileSync(new URL("../../../schemas/v1/event.json", import.meta.url), "utf8"));
}

/** The text of the generated files, by their paths in the package. */
export async function generate(schema) {
  return new Map([["src/events.ts", await types(schema)], ["src/schemas.ts", checks(schema)]]);
}

const banner = "// Generated from schemas/v1 by npm run generate. Do not edit it here.";

async function types(schema) {
  const $defs = Object.fromEntries(Object.entries(schema.$defs).map(([name, part]) => [name, typed(part)]));
  for (const [name, part] of Object.entries($defs)) {
    // An image has any statistics; those that are described have a type of their own there.
    const described = $defs[name.replace(/Image$/, "Statistics")];
    if (described !== part && part.additionalProperties) part.properties = described?.properties;
  }
  return compile({ title: schema.title, description: schema.description, oneOf: schema.oneOf, $defs }, schema.title, {
    additionalProperties: false, // what later versions add has no type here
    bannerComment: banner,
    style: { printWidth: 120 },
  });
}

/** The parts of a schema that a type can say. */
function typed(schema) {
  if (schema.$ref) return { $ref: schema.$ref };
  const { title, type, required, description, properties, items, additionalProperties } = schema;
  const known = knownWords(schema);
  return dense({
    title, type, required, description, const: schema.const, enum: schema.enum,
    tsType: known.length > 0 ? `${known.map((word) => JSON.stringify(word)).join(" | ")} | (string & {})` : undefined,
    properties: properties && mapValues(properties, typed),
    items: items && typed(items),
    additionalProperties: additionalProperties && typed(additionalProperties),
  });
}

/**
 * The words that a text is known to have, where the set of words is open. The description gives
 * each of them as "word: what it means", or lists them before "or another value".
 */
export function knownWords({ type, enum: closed, description = "" }) {
  if (type !== "string" || closed || !/\b(set is open|open set|may be added)\b/.test(description)) return [];
  const explained = [...description.matchAll(/(?:^|\. )([a-z][a-z_]*): /g)].map(([, word]) => word);
  if (explained.length > 0) return explained;
  const [list = ""] = /^[a-z_]+(?: \([^)]*\))?(?:, [a-z_]+(?: \([^)]*\))?)+(?= or another value)/.exec(description) ?? [];
  return list.split(", ").map((item) => item.replace(/ \(.*/, "")).filter(Boolean);
}

function checks(schema) {
  const lines = schema.oneOf.map(({ $ref }) => {
    const { type, data } = definition(schema, $ref).properties;
    return `  ${JSON.stringify(type.const)}: ${JSON.stringify(checked(schema, data))},\n`;
  });
  return `${banner}

import type { BpccEvent } from "./events.js";
import type { Schema } from "./schema.js";

/** What is checked of the data of an event, by its type. */
export const dataSchemas: Readonly<Record<BpccEvent["type"], Schema>> = {
${lines.join("")}};
`;
}

/** The parts of a schema that are checked: all but patterns, formats and what depends on other fields. */
function checked(root, schema) {
  if (schema.$ref) return checked(root, definition(root, schema.$ref));
  const { type, required, properties, items, additionalProperties, minLength, minimum } = schema;
  return dense({
    type, const: schema.const, enum: schema.enum, minLength, minimum, required,
    properties: properties && mapValues(properties, (field) => checked(root, field)),
    items: items && checked(root, items),
    additionalProperties: additionalProperties && checked(root, additionalProperties),
  });
}

const definition = (root, $ref) => root.$defs[$ref.slice("#/$defs/".length)];
const mapValues = (object, map) => Object.fromEntries(Object.entries(object).map(([name, value]) => [name, map(value)]));
const dense = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [file, text] of await generate(readSchema())) writeFileSync(new URL(`../${file}`, import.meta.url), text);
}
