// The whole path, seen from outside: a simulated tenant, the bridge and a NATS
// server as three processes, and a reader in another language. Every step waits
// for the event that it causes, so nothing here depends on how fast a machine is.
//
//	node .ci/consumer.mjs

import { isDeepStrictEqual } from "node:util";
import { Kvm } from "@nats-io/kv";
import { Contract, token } from "./contract.mjs";
import { bridge, start, startNATS, startSim } from "./process.mjs";
import { Reader } from "./reader.mjs";

const tenant = "ci";
const voice = "Voice Inbound";
const chat = "Chat & E-Mail";
// Ids that do not fit into a subject as they are: dots, blanks, wildcards, text
// beyond ASCII.
const agents = [
  ...Array.from({ length: 10 }, (_, i) => `agent.${String(i + 1).padStart(2, "0")}`),
  "o'brien@example.com", "Zoë Ångström", "*", "a>b=c_d-e",
];

// Building takes what it takes; this is for the run itself.
bridge();
const programs = {};
const nats = await startNATS();
const began = Date.now();
setTimeout(() => {
  console.log("consumer: not done within 75 s; something hangs");
  console.log(programs.bridge?.tail());
  process.exit(1);
}, 75_000).unref();

const { sim: tenantProgram, url, id, secret } = await startSim("--still");
const env = {
  BPCC_URL: url, BPCC_CLIENT_ID: id, BPCC_CLIENT_SECRET: secret,
  BPCC_POLL_INTERVAL: "200ms", BPCC_AVAILABILITY_INTERVAL: "200ms", BPCC_DIRECTORY_INTERVAL: "500ms",
  NATS_URL: nats.url,
  BRIDGE_TENANT: tenant, BRIDGE_CHECKPOINT_INTERVAL: "500ms", BRIDGE_HTTP: "off", BRIDGE_LOG_LEVEL: "debug",
  BRIDGE_THRESHOLDS: JSON.stringify([{
    name: "backlog", kind: "service", stat: "in_calls_waiting",
    raise: { op: ">=", value: 5 }, clear: { op: "<=", value: 2 }, for: "400ms",
  }]),
};
const logs = [];
function startBridge() {
  const program = start("bridge run", bridge(), ["run"], env);
  programs.bridge = program;
  logs.push(program);
  return program;
}

/** Move the simulated floor. */
async function sim(method, what, name, body) {
  const answer = await fetch(`${url}/sim/${what}/${encodeURIComponent(name)}`, { method, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} /sim/${what}/${name}: ${answer.status} ${await answer.text()}`);
}
const setState = (login, state, reason = "") => sim("PUT", "agents", login, { state, reason });
const setWaiting = (service, n) => sim("PUT", "services", service, { stats: { in_calls_waiting: String(n) } });
const setAvailable = (service, available) => sim("PUT", "availability", service, { available });

const steps = [];
let reader;
/** Run a step and say what it proved. */
async function step(what, run) {
  const from = reader?.mark() ?? 0;
  const found = await run(from);
  steps.push(what);
  console.log(`ok    ${what}${found ? `: ${found}` : ""}`);
}
/** An expectation beyond the contract of single events. */
function expect(what, holds, detail = "") {
  if (!holds) throw new Error(`${what}${detail && `: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`}`);
}
const named = (from, name) => reader.events.slice(from).filter((e) => e.name.match(name));
const liveAfter = (what, from, seconds) =>
  reader.event(what, from, (e) => e.name === "feed.checkpoint" && e.data.status === "live", seconds);
/** Nothing more comes from what has been done: two further watermarks are in. */
async function settled() {
  for (let i = 0; i < 2; i++) await liveAfter("a watermark", reader.mark());
}
/** Take an agent through states and see each change once. */
async function walk(login, from, states) {
  for (const [i, state] of states.entries()) {
    // The source has no word for an agent who is logged out.
    await setState(login, state === "logged_out" ? "" : state, state === "not_ready" ? "Lunch" : "");
    await reader.until(`${login} → ${state}`, () => {
      const seen = changesOf(login, from);
      return seen.length === i + 1 && seen[i].data.to.state === state;
    });
  }
  await settled();
  const seen = changesOf(login, from).map((e) => `${e.data.from.state}→${e.data.to.state}`);
  expect(`${login} changed state ${states.length} times`, seen.length === states.length, seen);
  return seen.join(", ");
}
const changesOf = (login, from) => named(from, /^agent\.state_changed$/).filter((e) => e.data.agent.id === login);

async function main() {
  for (const login of agents) {
    await sim("PUT", "agents", login, { first: "Test", last: login, team: "Customer Service", services: [voice, chat], state: "ready" });
  }
  for (const service of [voice, chat]) await setWaiting(service, 0);
  startBridge();
  reader = await Reader.open(nats.url);

  await step("the first snapshot is states, not changes", async () => {
    await liveAfter("the first live checkpoint", 0, 20);
    const first = named(0, /observed$/).map((e) => e.name);
    const count = (name) => first.filter((n) => n === name).length;
    expect("all agents, services and totals are observed",
      count("agent.observed") === agents.length && count("service.observed") === 2 && count("totals.observed") === 1, first);
    await reader.until("availability of both services", () => named(0, /^availability\.observed$/).length === 2);
    await settled();
    const changes = reader.events.filter((e) => e.key && !e.name.endsWith("observed"));
    expect("nothing changed yet", changes.length === 0, changes.map((e) => e.event));
    return `${first.length} observed`;
  });

  await step("ready → not_ready → ready is two changes", (from) => walk("agent.01", from, ["not_ready", "ready"]));
  await step("there, back and there again within the duplicate window is three", (from) =>
    walk("o'brien@example.com", from, ["busy", "ready", "busy"]));
  await step("log-out and log-in are changes of state", (from) => walk("Zoë Ångström", from, ["logged_out", "ready"]));

  await step("availability flips are told once each", async (from) => {
    const flips = [];
    for (const available of [false, true, false]) {
      await setAvailable(voice, available);
      await reader.until(`availability ${available}`, () => named(from, /^availability\.changed$/).length === flips.length + 1);
      flips.push(named(from, /^availability\.changed$/).at(-1).data);
    }
    await setAvailable(voice, null);
    await reader.until("availability as computed", () => named(from, /^availability\.changed$/).length === 4);
    await settled();
    const seen = named(from, /^availability\.changed$/).map((e) => e.data.available);
    expect("four flips", isDeepStrictEqual(seen, [false, true, false, true]), seen);
    expect("of that service alone", named(from, /^availability\.changed$/).every((e) => e.data.service === voice));
    return seen.join(", ");
  });

  await step("a threshold raises after its time, and clears at its own limit", async (from) => {
    await setWaiting(voice, 7);
    const raised = await reader.event("the threshold", from, (e) => e.name === "threshold.raised");
    const held = Date.parse(raised.event.time) - Date.parse(raised.data.pending_since);
    expect("it held for 400 ms", held >= 400, raised.data);
    // Between the two limits it neither clears nor raises again: what clears it is the 1.
    await setWaiting(voice, 4);
    await reader.event("4 waiting", from, (e) => e.name === "service.stats_changed" && e.data.after.in_calls_waiting === "4");
    await setWaiting(voice, 1);
    const cleared = await reader.event("its end", from, (e) => e.name === "threshold.cleared");
    await settled();
    expect("it cleared by its condition at 1", cleared.data.value === "1" && cleared.data.cleared_by === "condition", cleared.data);
    expect("once each", named(from, /^threshold\./).length === 2);
    return `held ${held} ms, cleared at ${cleared.data.value}`;
  });

  await step("a row that is gone is gone from the view, and continues when it is back", async (from) => {
    const login = "*";
    const key = `${tenant}.agent.${token(login)}`;
    const kv = await view();
    expect(`${key} is in the view`, await kv.get(key));
    await sim("DELETE", "agents", login);
    const gone = await reader.event("its departure", from, (e) => e.name === "agent.disappeared");
    await reader.until("its key to vanish", async () => !(await keys(kv)).includes(key));
    await sim("PUT", "agents", login, { first: "Test", last: "Back", team: "Customer Service", services: [voice], state: "ready" });
    const back = await reader.event("its return", from, (e) => e.name === "agent.appeared");
    await reader.until("its key to be back", async () => (await keys(kv)).includes(key));
    expect("its revisions go on", back.data.revision === gone.data.revision + 1, back.data);
    return `revision ${gone.data.revision}, then ${back.data.revision}`;
  });

  await step("a new service is in the directory, the grid and the availability checks", async (from) => {
    const service = "Neu/5 > 4";
    const listed = (what) => (e) => e.name === "directory.changed" && e.data.kind === "services" && e.data[what].some((s) => s.name === service);
    const about = (name) => (e) => e.name === name && e.data.service === service;
    await setWaiting(service, 0);
    await reader.event("its entry", from, listed("added"));
    await reader.event("its row", from, about("service.appeared"));
    const { data } = await reader.event("its availability", from, about("availability.observed"));
    expect("nobody can take its calls", data.available === false, data);
    await sim("DELETE", "services", service);
    await reader.event("its row's end", from, about("service.disappeared"));
    await reader.event("its entry's end", from, listed("removed"));
  });

  await step("after kill -9 comes the net difference, and nothing else", async (from) => {
    await setWaiting(chat, 9);
    await reader.event("the threshold", from, (e) => e.name === "threshold.raised");
    await settled();
    const { epoch } = reader.contract.last;
    await programs.bridge.stop("SIGKILL");
    const mark = reader.mark();
    const moved = agents.slice(0, 10);
    // There and back while nobody looks is no difference.
    await setState("a>b=c_d-e", "busy");
    for (const login of moved) await setState(login, "after_call_work");
    await setState("a>b=c_d-e", "ready");
    startBridge();
    const began = await reader.event("the bridge to be back", mark, (e) => e.name === "feed.started", 30);
    expect("the epoch is one higher", began.data.epoch === epoch + 1, { before: epoch, after: began.data.epoch });
    await liveAfter("its first look", reader.events.indexOf(began));
    await settled();
    const about = named(mark, /^agent\./);
    expect("ten agents, and no event about any other",
      about.length === 10 && isDeepStrictEqual(about.map((e) => e.data.agent.id).sort(), [...moved].sort()), about.map((e) => e.event.subject));
    expect("all of them changes of state after a gap",
      about.every((e) => e.name === "agent.state_changed" && e.data.after_gap === true && e.data.to.state === "after_call_work"));
    expect("the raised threshold is not raised again", named(mark, /^threshold\./).length === 0);
    expect("no first snapshot again", named(mark, /observed$|appeared$/).length === 0);
    await setWaiting(chat, 0);
    await reader.event("the threshold's end", mark, (e) => e.name === "threshold.cleared" && e.data.entity.id === chat);
    return `epoch ${epoch} → ${began.data.epoch}, ${about.length} changes`;
  });

  await step("SIGTERM ends it in order", async (from) => {
    const end = await programs.bridge.stop("SIGTERM");
    expect("exit status 0", end.code === 0, end);
    await reader.event("the last checkpoint", from, (e) => e.name === "feed.checkpoint" && e.data.status === "stopped");
    const [stopped, checkpoint] = reader.events.slice(-2);
    expect("feed.stopped, closed by its checkpoint, is the last word",
      stopped.name === "feed.stopped" && checkpoint.name === "feed.checkpoint" && checkpoint.data.status === "stopped", [stopped.event, checkpoint.event]);
  });

  await step("the view is the fold of the stream", async () => {
    const kv = await view();
    const want = new Map([...reader.contract.view].filter(([, e]) => !e.gone).map(([key, e]) => [key, e.event]));
    want.set(`${tenant}.feed`, reader.events.at(-1).event);
    await reader.until("the view to catch up", async () => (await kv.get(`${tenant}.feed`))?.json().id === reader.events.at(-1).event.id);
    const have = await keys(kv);
    expect("the same keys", isDeepStrictEqual([...have].sort(), [...want.keys()].sort()), { have, want: [...want.keys()] });
    for (const key of have) {
      expect(`${key} holds the latest event`, isDeepStrictEqual((await kv.get(key)).json(), want.get(key)));
    }
    return `${have.length} keys`;
  });

  await step("bridge replay prints the stream as it is stored", async () => {
    const replay = start("bridge replay", bridge(), ["replay", "--subject", `bpcc.v1.${tenant}.>`], { NATS_URL: nats.url });
    const end = await replay.ended;
    expect("exit status 0", end.code === 0, replay.tail());
    const lines = replay.stdout.split("\n").slice(0, -1);
    expect("byte for byte", isDeepStrictEqual(lines, reader.stored.map((m) => m.body)), `${lines.length} lines, ${reader.stored.length} events`);
    return `${lines.length} lines`;
  });

  await step("tampered copies of the stream are found out", async () => {
    expect("the stream itself is good", reader.contract.faults.length === 0);
    const list = Object.entries(tamperings());
    for (const [what, tamper] of list) {
      const copy = [...reader.stored];
      tamper(copy);
      const contract = new Contract();
      // Numbered anew, so that it is not the mere hole that gives it away.
      copy.forEach((message, i) => contract.read({ ...message, sequence: i + 1 }));
      expect(`it is noticed when ${what}`, contract.faults.length > 0);
    }
    return `${list.length} of ${list.length}`;
  });

  await step("no secret is in the log at level debug, nor in the stream", async () => {
    // A tenant hands out the same token as long as it lives: this is the bridge's.
    const answer = await fetch(`${url}/configapi/v2/oauth/token`, {
      method: "POST",
      body: new URLSearchParams({ grant_type: "client_credentials", client_id: id, client_secret: secret, scope: "sim" }),
    });
    const { access_token: accessToken } = await answer.json();
    expect("there is a token", /^[0-9A-F]{64}$/.test(accessToken ?? ""), accessToken);
    let lines = 0;
    for (const { stdout, stderr } of logs) {
      const log = stdout + stderr;
      lines += log.split("\n").length - 1;
      expect("the bridge logs", log.length > 0);
      expect("the log is without the client secret", !log.includes(secret));
      expect("the log is without the token", !log.toLowerCase().includes(accessToken.toLowerCase()));
    }
    const stored = reader.stored.map((m) => m.body).join("\n");
    expect("the stream is without them", !stored.includes(secret) && !stored.includes(accessToken));
    return `${lines} log lines`;
  });
}

/**
 * Judge the judge: what a faulty bridge could have stored must not pass. Each
 * tampering works on a copy of the stream that has just been found good.
 */
function tamperings() {
  const find = (name, n = 0) => reader.events.filter((e) => e.name === name)[n].sequence - 1;
  const edit = (i, change) => (stream) => {
    const event = JSON.parse(stream[i].body);
    change(event, event.data);
    stream[i] = { ...stream[i], body: JSON.stringify(event) };
  };
  const change = find("agent.state_changed", 3);
  const lasted = reader.events.find((e) => e.data.previous_duration && e.lastedSince?.after).sequence - 1;
  return {
    "an event is lost": (stream) => stream.splice(change, 1),
    "an event is doubled": (stream) => stream.splice(change, 0, stream[change]),
    "a whole poll is lost": (stream) => {
      const from = stream.findLastIndex((m, i) => i < change && m.subject.endsWith(".checkpoint")) + 1;
      const to = stream.findIndex((m, i) => i > change && m.subject.endsWith(".checkpoint"));
      stream.splice(from, to - from + 1);
    },
    "two polls are swapped": (stream) => {
      const ends = stream.flatMap((m, i) => (m.subject.endsWith(".checkpoint") ? [i + 1] : []));
      const [a, b, c] = ends.slice(-4);
      stream.splice(a, c - a, ...stream.slice(b, c), ...stream.slice(a, b));
    },
    "an image does not join": edit(change, (_, data) => (data.before.extension = "no such extension")),
    "a change changes nothing": edit(change, (_, data) => (data.to = data.from)),
    "a revision is skipped": edit(change, (_, data) => data.revision++),
    "a change of state is not counted": edit(change, (_, data) => data.state_revision--),
    "a state lasted for longer": edit(lasted, (_, data) => (data.previous_duration.max += 1)),
    "a value is a number": edit(change, (_, data) => (data.after.extension = 7)),
    "a timestamp is none": edit(change, (_, data) => (data.observed.by = "yesterday")),
    "a checkpoint miscounts": edit(find("feed.checkpoint", 3), (_, data) => data.events++),
    "an availability does not flip": edit(find("availability.changed", 1), (_, data) => (data.available = !data.available)),
    "a removal leaves its key": (stream) => {
      const i = find("agent.disappeared");
      const { header } = stream[i];
      stream[i] = { ...stream[i], header: (name) => (name === "KV-Operation" ? "" : header(name)) };
    },
  };
}

async function view() {
  return new Kvm(reader.js).open("bpcc_state");
}

async function keys(kv) {
  const list = [];
  for await (const key of await kv.keys()) list.push(key);
  return list;
}

let failed = "";
try {
  await main();
} catch (err) {
  failed = err.stack ?? String(err);
}
console.log("");
const held = reader?.contract.report() ?? false;
await reader?.close();
for (const program of [tenantProgram, nats.server]) await program.stop();
if (failed) {
  console.log(`FAIL  after ${steps.length} steps: ${failed}`);
  console.log(programs.bridge?.tail());
}
console.log(`\nconsumer: ${steps.length} steps, ${reader?.events.length ?? 0} events, ${((Date.now() - began) / 1000).toFixed(1)} s`);
process.exit(failed || !held ? 1 : 0);
