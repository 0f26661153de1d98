// The examples, as their README says to run them, and what they promise: the
// router refuses what is stale, the service does its work once over crashes, the
// auditor finds a good history complete and a tampered one not.
//
//	node .ci/examples.mjs
//
// Needs the packages of examples/ts (npm ci).

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { bridge, root, scratch, start, startNATS, startSim } from "./process.mjs";
import { Reader } from "./reader.mjs";

const tenant = "demo";
const service = "Voice Inbound";
const began = Date.now();
const ts = path.join(root, "examples", "ts");

function run(file, args, options = {}) {
  const done = spawnSync(file, args, { cwd: root, encoding: "utf8", ...options });
  if (done.status !== (options.status ?? 0)) {
    throw new Error(`${file} ${args.join(" ")}: status ${done.status}\n${done.stdout}${done.stderr}`);
  }
  return done.stdout;
}
function expect(what, holds, detail = "") {
  if (!holds) throw new Error(`${what}${detail && `: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`}`);
}
function ok(what) {
  console.log(`ok    ${what} (at ${((Date.now() - began) / 1000).toFixed(0)} s)`);
}

const bin = path.join(scratch, "examples") + path.sep;
run("go", ["build", "-o", bin, "./examples/..."], { env: { ...process.env, CGO_ENABLED: "0" } });
run("npm", ["run", "-s", "check"], { cwd: ts });
const loader = pathToFileURL(path.join(ts, "node_modules", "tsx", "dist", "loader.mjs")).href;
/** Start an example in one of the two languages, as a process of its own. */
function example(language, name, args) {
  const [file, first] = language === "go" ? [bin + name, []] : [process.execPath, ["--import", loader, path.join(ts, `${name}.ts`)]];
  return start(`${name} in ${language}`, file, [...first, ...args], { NATS_URL: nats.url });
}
const languages = ["go", "ts"];

bridge();
const nats = await startNATS();
setTimeout(() => {
  console.log("examples: not done within 120 s; something hangs");
  process.exit(1);
}, 120_000).unref();
const { sim, url, id, secret } = await startSim("--still");
function startBridge() {
  return start("bridge run", bridge(), ["run"], {
    BPCC_URL: url, BPCC_CLIENT_ID: id, BPCC_CLIENT_SECRET: secret, NATS_URL: nats.url, BRIDGE_TENANT: tenant,
    BPCC_POLL_INTERVAL: "200ms", BPCC_AVAILABILITY_INTERVAL: "200ms", BPCC_DIRECTORY_INTERVAL: "0s",
    BRIDGE_CHECKPOINT_INTERVAL: "500ms", BRIDGE_LEASE_TTL: "1s", BRIDGE_HTTP: "off",
  });
}
async function put(what, name, body) {
  const answer = await fetch(`${url}/sim/${what}/${encodeURIComponent(name)}`, { method: "PUT", body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`PUT /sim/${what}/${name}: ${answer.status} ${await answer.text()}`);
}

let reader;
const changes = () => reader.events.filter((e) => e.name === "agent.state_changed");
/** Move an agent, and wait until the stream tells. */
async function move(state) {
  const from = reader.mark();
  await put("agents", "john.smith", { state, reason: "" });
  await reader.event(`john.smith → ${state}`, from, (e) => e.name === "agent.state_changed");
}
async function walk(n) {
  for (let i = 0; i < n; i++) await move(i % 2 ? "ready" : "busy");
}
/** Wait until both routers print something new. */
async function routers(programs, what) {
  for (const program of programs) {
    await program.ready(what, () => {
      const said = program.stdout.slice(program.heard ?? 0);
      if (!what.test(said)) return false;
      program.heard = program.stdout.length;
      return true;
    });
  }
  ok(`both routers: ${what.source}`);
}

async function main() {
  await put("agents", "john.smith", { first: "John", last: "Smith", team: "Sales", services: [service], state: "ready" });
  await put("services", service, { stats: { in_calls_waiting: "0" } });
  await put("availability", service, { available: true });
  let program = startBridge();
  reader = await Reader.open(nats.url);
  await reader.event("availability", 0, (e) => e.name === "availability.observed");

  // A limit of seconds, as the watermark here comes twice a second.
  const running = languages.map((l) => example(l, "router", ["--tenant", tenant, "--limit", l === "go" ? "3s" : "3"]));
  await routers(running, /ROUTE +Voice Inbound +an agent is available/);
  await put("availability", service, { available: false });
  await routers(running, /HOLD +Voice Inbound +no agent is available/);
  await put("availability", service, { available: true });
  await routers(running, /ROUTE/);
  await program.stop("SIGKILL");
  await routers(running, /HOLD +Voice Inbound +the feed is (older than|stale)/);
  program = startBridge();
  await routers(running, /ROUTE/);

  // The service: killed in its work, twice, and started again.
  const ledgers = new Map(languages.map((l) => [l, path.join(scratch, `ledger-${l}`)]));
  const serve = () => languages.map((l) => example(l, "service", ["--tenant", tenant, "--durable", `ci-${l}`, "--ledger", ledgers.get(l)]));
  const lines = (l) => readFileSync(ledgers.get(l), "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line));
  await walk(6);
  for (let round = 0; round < 2; round++) {
    const servants = serve();
    for (const [i, l] of languages.entries()) await servants[i].ready("ledger", () => servants[i].stdout.includes("changes are in") && lines(l).length > 0);
    await walk(6);
    for (const servant of servants) await servant.stop("SIGKILL");
    await walk(4); // while nobody listens
  }
  const servants = serve();
  const want = changes().map((e) => e.event.id);
  for (const [i, l] of languages.entries()) {
    await servants[i].ready(`all ${want.length} changes`, () => lines(l).length >= want.length);
    await servants[i].stop("SIGINT");
    expect(`the ledger in ${l} holds every change once, in order`, JSON.stringify(lines(l).map((line) => line.id)) === JSON.stringify(want), lines(l));
  }
  ok(`both services: ${want.length} changes once each, in order, over two crashes`);

  await program.stop("SIGTERM");
  await routers(running, /HOLD +Voice Inbound +the feed is stopped/);
  for (const router of running) await router.stop("SIGINT");
  await reader.event("the end", 0, (e) => e.name === "feed.checkpoint" && e.data.status === "stopped");

  const stored = reader.stored.map((m) => m.body + "\n").join("");
  const tampered = path.join(scratch, "tampered.ndjson");
  const lost = reader.stored.findIndex((m) => m.body.includes(want[3]));
  writeFileSync(tampered, reader.stored.filter((_, i) => i !== lost).map((m) => m.body + "\n").join(""));
  for (const l of languages) {
    const out = path.join(scratch, `audit-${l}.ndjson`);
    const audit = async (args, code, look) => {
      const auditor = example(l, "auditor", args);
      const end = await auditor.ended;
      expect(`status ${code} of the auditor in ${l} ${args[0]}`, end.code === code && look.test(auditor.stdout), auditor.tail());
    };
    await audit(["--out", out], 0, /^complete:/m);
    expect(`the copy of the auditor in ${l} is byte for byte the stream`, readFileSync(out, "utf8") === stored);
    await audit(["--in", out], 0, /^complete:/m);
    await audit(["--in", tampered], 1, /FAULT/);
  }
  ok(`both auditors: ${reader.stored.length} events complete, and not complete with one event less`);

  // The commands of the README, with an end and with this server.
  program = startBridge();
  await reader.event("the bridge to be back", reader.mark(), (e) => e.name === "feed.checkpoint" && e.data.status === "live");
  const blocks = [...readFileSync(path.join(root, "examples", "README.md"), "utf8").matchAll(/^```sh\n(.*?)^```$/gms)].map((m) => m[1]);
  expect("the README has two blocks of commands", blocks.length === 2, blocks);
  for (const block of blocks) {
    const script = block
      .replace("nats://127.0.0.1:4222", nats.url)
      .replace(/^npm ci$/m, "") // done before
      .replace(/^go run .*(router|service).*$/gm, "$& --for 1s")
      .replace(/^npm run (router|service).*$/gm, "$& --for 1")
      .replaceAll(/(state-changes|events)\.ndjson/g, path.join(scratch, "$&"));
    const said = run("bash", ["-euo", "pipefail", "-c", script], { env: { ...process.env, NATS_URL: nats.url } });
    expect("they say what they should", /ROUTE/.test(said) && /changes are in .* now/.test(said) && said.match(/^complete:/gm)?.length === 2, said);
  }
  ok("the README's commands");
  await program.stop("SIGTERM");
}

let failed = "";
try {
  await main();
} catch (err) {
  failed = err.stack ?? String(err);
}
await reader?.close();
for (const program of [sim, nats.server]) await program.stop();
if (failed) console.log(`FAIL  ${failed}`);
console.log(`\nexamples: ${((Date.now() - began) / 1000).toFixed(1)} s`);
process.exit(failed ? 1 : 0);
