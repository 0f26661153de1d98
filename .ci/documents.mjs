// What the documents say is true: their links lead somewhere, the names in them
// exist, and every command in them works, as a stranger types it. It begins with
// the stranger's way, timed: from the clone to the first event in `nats sub`.
//
//	node .ci/documents.mjs
//	node .ci/documents.mjs --cold    the stranger's way alone, with empty caches of Go

import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import path from "node:path";
import { table } from "./documents-table.mjs";
import { configuration, deadLinks, documentedCommands, documents, files, firstBlock, unknownNames, unmarked } from "./documents-text.mjs";
import { bridge, cleanEnv, root, scratch, sleep, startNATS, startSim } from "./process.mjs";

const cold = process.argv.includes("--cold");
const src = path.join(scratch, "src");
const bin = path.join(scratch, "bin");
const faults = [];
const ok = (what) => console.log(`ok    ${what}`);
function fault(what) {
  faults.push(what);
  console.log(`FAIL  ${what}`);
}
const seconds = (since) => ((Date.now() - since) / 1000).toFixed(1);

const groups = new Set();
process.on("exit", () => {
  for (const group of groups) signal(group, "SIGKILL");
  // What Go keeps of modules cannot be written to.
  if (cold) spawnSync("chmod", ["-R", "u+w", scratch]);
});
function signal(group, name) {
  try {
    process.kill(-group, name);
  } catch {
    // it has ended
  }
}

/** A shell in a group of its own, with what it has said. */
class Shell {
  constructor(script, env = {}, cwd = src) {
    this.said = "";
    this.child = spawn("bash", ["-euo", "pipefail", "-c", script], { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    groups.add(this.child.pid);
    for (const out of [this.child.stdout, this.child.stderr]) out.on("data", (b) => (this.said += b));
    this.child.on("close", (code, name) => {
      groups.delete(this.child.pid);
      this.end = { code, name };
    });
  }

  /** Wait until it has said something, or has ended; false when the time is up. */
  async wait(look, limit) {
    for (const until = Date.now() + limit * 1000; Date.now() < until; await sleep(20)) {
      if (look?.test(this.said)) return true;
      if (this.end) return !look;
    }
    return false;
  }

  /** It ended well. `go run` that was interrupted has status 1, and says so if its program had another than 0. */
  well() {
    return this.end?.code === 0 || (/go run /.test(this.child.spawnargs.at(-1)) && !/^exit status|^signal:/m.test(this.said));
  }

  /** End it as Ctrl-C does; what does not heed that is killed. */
  async stop(name = "SIGINT") {
    if (!this.end) signal(this.child.pid, name);
    if (!(await this.wait(null, 15))) {
      signal(this.child.pid, "SIGKILL");
      await this.wait(null, 5);
      return false;
    }
    return true;
  }
}
const kept = cleanEnv();
const base = { ...kept, PATH: `${path.join(scratch, "bin")}:${kept.PATH}`, GOBIN: bin };
if (cold) Object.assign(base, { GOMODCACHE: path.join(scratch, "mod"), GOCACHE: path.join(scratch, "cache"), GOFLAGS: "-modcacherw" });

/** A clone of the repository, with what is not committed yet on top. */
function clone() {
  const git = (...args) => {
    const done = spawnSync("git", args, { encoding: "utf8" });
    if (done.status !== 0) throw new Error(`git ${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  };
  git("clone", "--quiet", "--no-hardlinks", root, src);
  git("init", "--quiet", "--bare", path.join(scratch, "origin.git"));
  git("-C", src, "remote", "set-url", "origin", path.join(scratch, "origin.git"));
  const touched = git("-C", root, "ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard").split("\0").filter(Boolean);
  const staged = git("-C", root, "diff", "--cached", "--name-only", "-z").split("\0").filter(Boolean);
  const there = new Set(files());
  for (const file of new Set([...touched, ...staged])) {
    rmSync(path.join(src, file), { force: true });
    if (!there.has(file)) continue;
    mkdirSync(path.dirname(path.join(src, file)), { recursive: true });
    copyFileSync(path.join(root, file), path.join(src, file));
  }
}

/** The stranger's way; resolves to the demo, which goes on, and its addresses. */
async function stranger(commands) {
  const load = loadavg();
  const began = Date.now();
  clone();
  const cloned = seconds(began);
  const command = firstBlock();
  if (!/bridge demo$/.test(command)) throw new Error(`README.md's first block of commands is not the demo: ${command}`);
  const demo = new Shell(command, base);
  if (!(await demo.wait(/nats:\/\/[\d.]+:\d+[^]*http:\/\/[\d.]+:\d+\//, 600))) throw new Error(`the demo tells no addresses:\n${demo.said}`);
  const [nats] = demo.said.match(/nats:\/\/[\d.]+:\d+/);
  const page = demo.said.match(/live page +http:\/\/([\d.]+:\d+)\//)[1];
  const demoed = seconds(began);

  const install = commands.find(({ command }) => command.startsWith("go install github.com/nats-io/natscli/"));
  const building = new Shell(install.command, { ...base, CGO_ENABLED: "0" });
  if (!(await building.wait(null, 600)) || building.end.code !== 0) throw new Error(`${install.command}:\n${building.said}`);
  const built = seconds(began);

  const look = commands.find(({ document, command }) => document === "README.md" && /^nats .* sub /.test(command));
  const sub = new Shell(look.command.replace("nats://127.0.0.1:4222", nats), base);
  if (!(await sub.wait(/Received on "bpcc\.v1\.demo\./, 30))) throw new Error(`${look.command}: no event\n${sub.said}\n${demo.said}`);
  console.log(`${cold ? "COLD" : "WARM"}  from the clone to the first event in nats sub: ${seconds(began)} s` +
    ` (cloned at ${cloned} s, the demo runs at ${demoed} s, the nats CLI is there at ${built} s;` +
    ` ${cpus().length} processors, load before ${load.map((l) => l.toFixed(1)).join(" ")})`);
  await sub.stop();
  return { demo, nats, page };
}

/** The demo's metrics, when its store has been measured: until then some are absent. */
async function scrape(page) {
  for (const until = Date.now() + 20_000; ; await sleep(200)) {
    const metrics = await (await fetch(`http://${page}/metrics`)).text();
    if (metrics.includes("# TYPE bpcc_bridge_oldest_event_timestamp_seconds ") || Date.now() > until) return metrics;
  }
}

/** Run one command as the table has it. */
async function run({ document, command, before = "" }, how, world) {
  const name = `${document}: ${command}`;
  if (how.left) {
    const [step, file, text] = how.left;
    const steps = world.run.includes(` '${step}' `);
    if (!steps || !world.text(file).includes(text)) return fault(`${name}: left to the step '${step}', but ${steps ? `${file} has no ${text}` : ".ci/run has no such step"}`);
    return console.log(`left  ${name}\n      to the step '${step}'`);
  }
  if (how.not) return console.log(`not   ${name}\n      ${how.not}`);
  const began = Date.now();
  for (const [file, content] of Object.entries(how.files ?? {})) writeFileSync(path.join(src, file), content);
  const script = world.place(how.as?.(command) ?? command);
  const env = { ...base, ...world.env, ...how.env };
  for (const [key, value] of Object.entries(env)) if (value === undefined) delete env[key];
  const typed = how.terminal ? `script -qec ${quote(script)} /dev/null` : script;
  const shell = new Shell(world.place(before) + typed, env);
  let told = "";
  if (how.until || how.seconds) {
    const there = how.until ? await shell.wait(how.until, 60) : (await sleep(how.seconds * 1000), !shell.end);
    const ended = await shell.stop(how.terminal ? "SIGTERM" : "SIGINT");
    if (!there) told = how.until ? `it never said ${how.until}` : "it ended by itself";
    else if (!ended) told = "Ctrl-C does not end it";
    // The programs of others end as they like.
    else if (/\bbridge [a-z]/.test(script) && !shell.well()) told = `status ${shell.end.code} after Ctrl-C`;
  } else if (!(await shell.wait(null, 120))) {
    await shell.stop();
    told = "it does not end";
  } else if (shell.end.code !== (how.status ?? 0)) told = `status ${shell.end.code}`;
  if (!told && how.says && !how.says.test(shell.said)) told = `it does not say ${how.says}`;
  if (told) return fault(`${name}: ${told}\n${script === command ? "" : `run as: ${script}\n`}${tail(shell.said)}`);
  ok(`${name}${script === command ? "" : `\n      as: ${script}`} (${seconds(began)} s)`);
}
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const tail = (text, n = 25) => text.trimEnd().split("\n").slice(-n).map((line) => `        ${line.slice(0, 200)}`).join("\n");

/** What the nats CLI shows of a running bridge, and what a person must see in it. */
async function transcript(nats) {
  const first = (text, n) => text.trim().split("\n").slice(0, n).map((line) => `      ${line.slice(0, 200)}`).join("\n");
  const look = async (args, ...wanted) => {
    const shell = new Shell(`timeout 20 nats -s ${nats} ${args}`, base);
    await shell.wait(null, 25);
    console.log(`      $ nats ${args}\n${first(shell.said, 30)}\n`);
    for (const want of wanted) {
      const seen = want instanceof RegExp ? want.test(shell.said) : want(shell.said);
      if (!seen) fault(`nats ${args}: nobody sees ${want}`);
    }
    if (shell.end?.code !== 0) fault(`nats ${args}: status ${shell.end?.code}`);
    return shell.said;
  };
  // Rows of tables: a name, then a count that is not nought.
  await look("stream ls", /│ BPCC_EVENTS +│.*│ [1-9][\d,]* +│/, /│ BPCC_EVENTS_WATCHDOG +│/);
  await look("stream info BPCC_EVENTS", /Subjects: bpcc\.v1\.>/, /Storage: File/, /Allows Atomic Batch Publish: true/, /Allows Msg Delete: false/, /Allows Purge: false/, /Messages: [1-9]/, /Number of Subjects: [1-9]/);
  await look("sub 'bpcc.v1.>' --count 2", /\[#2\] Received on "bpcc\.v1\.demo\./, /Content-Type: application\/cloudevents\+json/, /Nats-Msg-Id: demo-1-/);
  await look("sub 'bpcc.v1.*.agent.*.state_changed' --count 1 --raw", (said) => JSON.parse(said.slice(said.indexOf("{"))).data.after.acd_state !== undefined);
  await look("kv ls", /│ bpcc_state +│.*│ [1-9]\d* +│/, /│ bpcc_lease +│/);
  await look("kv ls bpcc_state", /^demo\.feed$/m, /^demo\.agent\./m, /^demo\.service\./m, /^demo\.availability\./m, /^demo\.directory\.teams$/m, /^demo\.totals\./m);
  await look("kv get bpcc_state demo.feed --raw", (said) => {
    const { data } = JSON.parse(said);
    const age = Date.now() - Date.parse(data.observed_until);
    return data.status === "live" && data.agents > 0 && data.services > 0 && data.epoch === 1 && age < 60_000;
  });
  await look("req bpcc.svc.demo.health ''", /"role":"leader"/, /"status":"live"/, /"ready":true/);
  await look("service ls", /│ bpcc-bridge +│/);
  await look("service info bpcc-bridge", /tenant: demo/, /role: leader/, /epoch: 1/, /Subject: bpcc\.svc\.demo\.health/, /"observed_until"/);
  await look("service stats bpcc-bridge", /│ health +│ [1-9]\d* +│/);
}

/** Every command, in the order of the documents. */
async function commandsRun(commands, world) {
  const used = new Set();
  const difference = () => spawnSync("git", ["-C", src, "diff"], { encoding: "utf8", maxBuffer: 64 << 20 }).stdout;
  const before = difference();
  for (const command of commands) {
    const entry = table.find(([pattern]) => pattern.test(`${command.document}: ${command.command}`));
    if (entry) used.add(entry);
    await run(command, entry?.[1] ?? {}, world);
  }
  for (const entry of table) if (!used.has(entry)) fault(`${entry[0]} is in the table of commands and in no document`);
  if (difference() !== before) fault(`the commands have changed files:\n${difference()}`);
}

async function main() {
  const commands = documentedCommands();
  const { demo, nats, page } = await stranger(commands);
  if (cold) return demo.stop();
  const helps = new Map();
  const help = (name) => {
    if (!helps.has(name)) {
      const done = spawnSync(bridge(), [name, "--help"], { encoding: "utf8", env: kept });
      helps.set(name, done.status === 0 ? done.stdout : undefined);
    }
    return helps.get(name);
  };
  const { stdout: usage } = spawnSync(bridge(), ["--help"], { encoding: "utf8", env: kept });
  for (const [, name] of usage.matchAll(/^ {2}bridge (\w+) +\S/gm)) {
    const [, examples] = help(name).split("\nExamples:\n");
    commands.push(...examples.trim().split("\n").map((line) => ({ document: `bridge ${name} --help`, command: line.trim() })));
  }

  for (const line of unmarked()) fault(line);
  const { n: links, dead } = deadLinks();
  for (const line of dead) fault(line);
  for (const line of configuration()) fault(line);
  const metrics = await scrape(page);
  const { n: names, unknown } = unknownNames(help, metrics);
  for (const line of unknown) fault(line);
  console.log(`${documents.length} documents: ${links} links, ${names} names, ${commands.length} commands`);

  const server = await startNATS();
  const { sim, url, id, secret } = await startSim("--seed", "1");
  const file = path.join(scratch, "secret");
  writeFileSync(file, secret);
  const text = (name) => readFileSync(path.join(root, name), "utf8");
  const world = {
    text, run: text(".ci/run"),
    env: {
      PATH: `${bin}:${path.dirname(bridge())}:${kept.PATH}`, NATS_URL: nats, BRIDGE_HTTP: page,
      BPCC_URL: url, BPCC_CLIENT_ID: id, BPCC_CLIENT_SECRET_FILE: file,
    },
    /** A command with what is here in the place of what is a reader's own. */
    place: (command) => command
      .replaceAll("nats://127.0.0.1:4222", nats).replaceAll("nats://nats.example.com:4222", server.url)
      .replaceAll("https://acme.brightpattern.com", url).replaceAll("stats.user", id).replaceAll("/run/secrets/bpcc", file)
      // One server that asks for no credentials; three, and real ones, have tests of their own.
      .replace(" NATS_CREDS=/run/secrets/bridge.creds", "").replace("BRIDGE_REPLICAS=3", "BRIDGE_REPLICAS=1")
      // Days on which there was no demo.
      .replace(/--since 2026-\S+ --until 2026-\S+/, "--since 1h"),
  };
  await commandsRun(commands, world);
  await transcript(nats);
  await demo.stop();
  if (!demo.well()) fault(`the demo ended with ${JSON.stringify(demo.end)}:\n${tail(demo.said)}`);
  for (const program of [sim, server.server]) await program.stop();
}

const began = Date.now();
try {
  await main();
} catch (err) {
  fault(err.stack ?? String(err));
}
if (faults.length > 1) console.log(`\n${faults.length} faults:\n${faults.map((f) => f.split("\n")[0]).join("\n")}`);
console.log(`\ndocuments: ${seconds(began)} s`);
process.exit(faults.length > 0 ? 1 : 0);
