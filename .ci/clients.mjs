// The npm package for readers of the stream, as its users get it: built, tested, packed,
// installed from the tarball into a project of its own, and used there on a NATS server
// with a bridge and a simulated tenant.
//
//	node .ci/clients.mjs

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { bridge, root, scratch, sleep, start, startNATS, startSim } from "./process.mjs";

const source = path.join(root, "clients/ts");
const project = path.join(scratch, "project");

/** Run a command to its end, and fail if it fails. */
function run(cwd, command, args, env = {}) {
  const began = Date.now();
  const done = spawnSync(command, args, { cwd, env: { ...process.env, ...env }, encoding: "utf8" });
  const text = `${command} ${args.join(" ")}`;
  if (done.status !== 0) throw new Error(`${text}: ${done.error ?? `exit status ${done.status}`}\n${done.stdout}${done.stderr}`);
  console.log(`ok    ${text}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
  return done.stdout;
}

/** How many tests have passed; none may be left out. */
function passed(tap) {
  const count = (what) => Number(new RegExp(`^# ${what} (\\d+)$`, "m").exec(tap)?.[1]);
  if (!(count("pass") > 0 && count("pass") === count("tests"))) throw new Error(`tests are left out:\n${tap}`);
  console.log(`      ${count("pass")} tests`);
}

/** Give the simulated tenant a service, and an agent who changes state. */
async function moveTenant(url) {
  const put = async (what, body) => {
    const answer = await fetch(`${url}/sim/${what}`, { method: "PUT", body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`PUT /sim/${what}: ${answer.status}`);
  };
  await put("services/Voice%20Inbound", { stats: { in_calls_waiting: "0" } });
  for (const state of ["ready", "busy"]) {
    await put("agents/john.smith", { first: "John", last: "Smith", team: "Sales", services: ["Voice Inbound"], state });
    await sleep(600); // three polls
  }
}

/** The programs of the README, in order, and what each prints. */
const printed = [
  /-> \w+|waiting/,
  /^(ROUTE|HOLD) [^]*^true live /m,
  /^demo-\d+-\d+-\d+ /m,
  /^complete: \d+ events$/m,
  /^john=2Esmith Voice Inbound\ndemo agent \[ 'john.smith' \] state_changed\ndemo.agent.john=2Esmith\nbpcc.v1.demo.agent.\*.state_changed\ntrue\n$/,
];

/** Write the programs of the README into the project. */
function writePrograms() {
  const programs = [...readFileSync(path.join(source, "README.md"), "utf8").matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, text]) => text);
  if (programs.length !== printed.length) throw new Error(`README.md has ${programs.length} programs, ${printed.length} are expected`);
  programs.forEach((text, i) => writeFileSync(path.join(project, `readme-${i + 1}.ts`), text));
}

/** Run the programs of the README until each has printed what it should, and end it. */
async function runPrograms(env) {
  for (const [i, pattern] of printed.entries()) {
    const program = start(`program ${i + 1} of the README`, "node", [path.join(project, `readme-${i + 1}.js`)], env);
    const end = await Promise.race([program.ended, program.ready("output", () => pattern.test(program.stdout)).then(() => program.stop("SIGINT"), () => program.ended)]);
    if ((end.code !== 0 && end.signal !== "SIGINT") || !pattern.test(program.stdout)) throw new Error(`${program.name}: ${JSON.stringify(end)}\n${program.tail()}`);
  }
  console.log(`ok    ${printed.length} programs of the README`);
}

async function main() {
  run(source, "npm", ["run", "-s", "build"]);
  passed(run(source, "npm", ["test"]));
  // It has been built above.
  const [{ filename, files }] = JSON.parse(run(source, "npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", scratch]));
  const unwanted = files.map((file) => file.path).filter((file) => !/^(dist\/.*\.(js|d\.ts)|package\.json|README\.md|LICENSE)$/.test(file));
  if (unwanted.length > 0 || files.length < 30) throw new Error(`the tarball holds ${files.length} files, of which these do not belong there: ${unwanted}`);

  run(root, "npm", ["publish", "./clients/ts", "--dry-run", "--ignore-scripts"]);

  // With the clients and the compiler that the package was made with.
  const { devDependencies } = JSON.parse(readFileSync(path.join(source, "package.json"), "utf8"));
  const clients = Object.entries(devDependencies).filter(([name]) => /^@(nats-io|types)\//.test(name));
  mkdirSync(project);
  writeFileSync(path.join(project, "package.json"), JSON.stringify({ private: true, type: "module", dependencies: Object.fromEntries(clients) }));
  run(project, "npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", path.join(scratch, filename)]);
  cpSync(path.join(source, "test/installed"), project, { recursive: true });
  writePrograms();
  run(project, path.join(source, "node_modules/.bin/tsc"), []);

  const nats = await startNATS();
  const { url, id, secret } = await startSim("--still");
  const program = start("bridge run", bridge(), ["run"], {
    BPCC_URL: url, BPCC_CLIENT_ID: id, BPCC_CLIENT_SECRET: secret, BPCC_POLL_INTERVAL: "200ms", BPCC_AVAILABILITY_INTERVAL: "200ms",
    BPCC_DIRECTORY_INTERVAL: "500ms", NATS_URL: nats.url, BRIDGE_TENANT: "demo", BRIDGE_CHECKPOINT_INTERVAL: "500ms", BRIDGE_HTTP: "off",
  });
  await program.ready("a term", () => /\bleading\b/.test(program.stdout + program.stderr));
  await moveTenant(url);
  await runPrograms({ NATS_URL: nats.url });
  const tests = readdirSync(project).filter((file) => file.endsWith(".test.js"));
  passed(run(project, "node", ["--test", "--test-timeout=30000", ...tests], { NATS_URL: nats.url, SIM_URL: url, BRIDGE_PID: String(program.child.pid) }));
}

const began = Date.now();
try {
  await main();
} catch (err) {
  console.log(`FAIL  ${err.message}`);
  process.exitCode = 1;
}
console.log(`\nclients: ${((Date.now() - began) / 1000).toFixed(1)} s`);
process.exit();
