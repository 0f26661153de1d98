// Runs the commands of docs/types.md, which generate types from the schema of any event, and judges what they make: that
// it compiles, that it reads the examples of the schemas, that no name is invented and nothing is of any type, and that a
// new optional field gives no type another name.
//
//	CI_BRIDGE=bin/bridge node .ci/schemas/types.mjs

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { compile } from "json-schema-to-typescript";
import { faultsOf, typesOf } from "./names.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, "..", "..");
const v1 = path.join(root, "schemas", "v1");
const scratch = mkdtempSync(path.join(tmpdir(), "bpcc-nats-types-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));

const faults = [];
const fault = (text) => (faults.push(text), console.log(`FAULT ${text}`));
const readJSON = (file) => JSON.parse(readFileSync(file, "utf8"));

const blocks = (language) =>
  [...readFileSync(path.join(root, "docs", "types.md"), "utf8").matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "gms"))].map(([, text]) => text);
const commands = blocks("sh").join("").split("\n").filter(Boolean);

// Nothing is installed here: npx finds the programs of package.json, go run those that the step `needs` got.
const modules = execFileSync("go", ["env", "GOMODCACHE"], { encoding: "utf8" }).trim();
const env = {
  ...process.env,
  PATH: `${path.dirname(process.env.CI_BRIDGE)}:${process.env.PATH}`,
  npm_config_offline: "true",
  npm_config_update_notifier: "false",
  GOPROXY: `file://${modules}/cache/download`,
  GOSUMDB: "off",
};

/** Run the documented commands in a directory of their own, with another schema of any event if one is given. */
function generate(name, schema) {
  const dir = path.join(scratch, name);
  mkdirSync(dir);
  symlinkSync(path.join(here, "node_modules"), path.join(dir, "node_modules"));
  copyFileSync(path.join(here, "modelina.mjs"), path.join(dir, "modelina.mjs"));
  if (schema) writeFileSync(path.join(dir, "event.json"), JSON.stringify(schema));
  for (const command of commands) {
    if (schema && command.startsWith("bridge schemas ")) continue;
    const installed = command.match(/^npm install (\S+)@(\S+)$/);
    if (installed) {
      if (readJSON(path.join(here, "package.json")).dependencies[installed[1]] !== installed[2]) fault(`package.json has another version: ${command}`);
      continue;
    }
    console.log(`${name} $ ${command}`);
    execFileSync("bash", ["-euo", "pipefail", "-c", command], { cwd: dir, env, stdio: ["ignore", "inherit", "inherit"] });
  }
  return dir;
}

/** The text of what was generated, by the language and what wrote it. */
function results(dir) {
  const java = readdirSync(path.join(dir, "java")).map((file) => readFileSync(path.join(dir, "java", file), "utf8"));
  const files = { "events.ts": "ts", "quicktype.ts": "ts", "modelina.ts": "ts", "events/events.go": "go", "quicktype/events.go": "go", "Events.cs": "cs", "events.py": "py" };
  const texts = Object.entries(files).map(([file, language]) => ({ file, language, text: readFileSync(path.join(dir, file), "utf8") }));
  return [...texts, { file: "java", language: "java", text: java.join("\n") }];
}

const run = (dir, program, ...args) => {
  console.log(`$ ${program} ${args.join(" ").slice(0, 200)}`);
  execFileSync(program, args, { cwd: dir, env, stdio: ["ignore", "inherit", "inherit"] });
};

/** Run a program that not every developer has; as root on Debian the step `needs` installs it. */
function runIfThere(dir, program, ...args) {
  try {
    run(dir, program, ...args);
  } catch (err) {
    if (err.code !== "ENOENT") throw err;
    console.log(`NOT TESTED: there is no ${program}`);
  }
}

const event = readJSON(path.join(v1, "event.json"));
const isEvent = (name) => event.oneOf.some(({ $ref }) => $ref === `#/$defs/${name}`);
const examples = readdirSync(v1).flatMap((file) => readJSON(path.join(v1, file)).examples ?? []);
const typeOf = (e) => e.type.slice("bpcc.".length, -".v1".length).replace(/(^|[._])(.)/g, (_, __, letter) => letter.toUpperCase());

const dir = generate("present");
const present = results(dir);
for (const { file, language, text } of present) {
  const types = typesOf(language, text);
  for (const found of faultsOf(language, text)) fault(`${file}: ${found}`);
  // Maps are written as such, and lists of statistics only where all definitions are.
  for (const name of Object.keys(event.$defs).filter((def) => !/(Image|Statistics)$/.test(def))) {
    if (!types.includes(name) && !types.includes(`${name}Enum`)) fault(`${file}: there is no type ${name}`);
  }
  console.log(`${file}: ${types.length} types`);
}

// TypeScript: the examples are of their types, and the code of the document is right.
const literals = examples.map((e) => `  ${JSON.stringify(e)},\n`).join("");
writeFileSync(path.join(dir, "examples.ts"), `import type { BpccEvent } from "./events";\nexport const examples: BpccEvent[] = [\n${literals}];\n`);
writeFileSync(path.join(dir, "wrong.ts"), `import type { BpccEvent } from "./events";\n// @ts-expect-error\nexport const e: BpccEvent = ${JSON.stringify({ ...examples[0], type: "bpcc.agent.vanished.v1" })};\n`);
const typed = ["quicktype", "modelina"].map((file) => {
  const lines = examples.map((e, i) => `export const e${i}: t.${typeOf(e)} = ${JSON.stringify(e)};\n`).join("");
  writeFileSync(path.join(dir, `${file}.examples.ts`), `import type * as t from "./${file}";\n${lines}`);
  return `${file}.examples.ts`;
});
const code = blocks("ts").map((text, i) => {
  writeFileSync(path.join(dir, `document${i}.ts`), `${text}\nexport { line };\n`);
  return `document${i}.ts`;
});
writeFileSync(path.join(dir, "asyncapi.ts"), execFileSync("node", ["modelina.mjs", path.join(root, "schemas", "asyncapi.yaml")], { cwd: dir, env }));
for (const found of faultsOf("ts", readFileSync(path.join(dir, "asyncapi.ts"), "utf8"), /V1$/)) fault(`asyncapi.ts: ${found}`);
run(dir, "node_modules/.bin/tsc", "--strict", "--noEmit", "--module", "nodenext", "--moduleResolution", "nodenext", "examples.ts", "wrong.ts", "asyncapi.ts", ...typed, ...code);

// Go: the examples can be read into their types, of which each has all their fields.
writeFileSync(path.join(dir, "go.mod"), "module types\n\ngo 1.24\n");
for (const name of ["events", "quicktype"]) {
  mkdirSync(path.join(dir, `read-${name}`));
  const cases = examples.map((e) => `\tread(new(types.${typeOf(e)}), ${JSON.stringify(JSON.stringify(e))})\n`).join("");
  writeFileSync(
    path.join(dir, `read-${name}`, "main.go"),
    `package main

import (
	"encoding/json"
	"strings"

	types "types/${name}"
)

func main() {
${cases}}

func read(event any, text string) {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(event); err != nil {
		panic(text + ": " + err.Error())
	}
}
`,
  );
  run(dir, "go", "vet", `./${name}`, `./read-${name}`);
  run(dir, "go", "run", `./read-${name}`);
}

runIfThere(dir, "python3", "-c", "import events; print(events.AgentStateChanged.__annotations__['data'])");
runIfThere(dir, "javac", "-d", "classes", ...readdirSync(path.join(dir, "java")).map((file) => `java/${file}`));

// A schema alone gives types that are as good.
for (const file of readdirSync(v1)) {
  const text = await compile(readJSON(path.join(v1, file)), "Name", {});
  for (const found of faultsOf("ts", text, /V1$/)) fault(`${file}: ${found}`);
}

// What v1 may get: fields, of which each may have a type of its own, and none of which is required.
const grown = structuredClone(event);
grown.$defs.Skill = { title: "Skill", type: "object", description: "A skill.", properties: { name: { type: "string" }, level: { $ref: "#/$defs/SkillLevel" } } };
grown.$defs.SkillLevel = { title: "SkillLevel", type: "string", description: "A level.", enum: ["high", "low"] };
for (const [name, def] of Object.entries(event.$defs)) {
  if (!def.properties || /Statistics$/.test(name)) continue;
  Object.assign(grown.$defs[name].properties, {
    note: { type: "string", description: "A text." },
    edition: { type: "string", const: "second", description: "A constant." },
    skills: { type: "array", items: { $ref: "#/$defs/Skill" }, description: "A list." },
    skill: { $ref: "#/$defs/Skill" },
    severity: def.properties.severity ?? { $ref: "#/$defs/Severity" },
    observed: def.properties.observed ?? { $ref: "#/$defs/ObservedWindow" },
    labels: isEvent(name) ? undefined : { type: "array", items: { type: "string" }, description: "A list." },
  });
}
const later = results(generate("grown", grown));
for (const [i, { file, language, text }] of present.entries()) {
  const before = typesOf(language, text);
  const after = typesOf(language, later[i].text);
  for (const name of before.filter((name) => !after.includes(name))) fault(`${file}: with optional fields more there is no type ${name}`);
  const added = after.filter((name) => !before.includes(name));
  for (const name of added.filter((name) => !/^(Skill|Edition)/.test(name))) fault(`${file}: with optional fields more there is a type ${name}`);
  for (const found of faultsOf(language, later[i].text)) fault(`with optional fields more: ${file}: ${found}`);
  if (!added.includes("Skill")) fault(`${file}: with optional fields more there is no type Skill`);
}

// What this is good for: of a schema as nobody should write it, faults are found.
const bad = structuredClone(event);
bad.$defs.AgentStateChangedData.properties.to.description = "The state after the change.";
bad.$defs.AgentStateChangedData.properties.level = { description: "Of no type." };
const badFaults = faultsOf("ts", await compile(bad, "Name", { unknownAny: false }));
for (const wanted of ["AgentState1", "any"]) {
  if (!badFaults.some((found) => found.includes(wanted))) fault(`of a bad schema ${wanted} is not found: ${badFaults}`);
}

console.log(`${commands.length} commands, ${examples.length} examples, ${faults.length} faults`);
process.exit(faults.length === 0 ? 0 : 1);
