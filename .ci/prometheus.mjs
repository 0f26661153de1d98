// The alerts and the dashboard, judged by Prometheus itself: their tests, and every
// expression evaluated against a bridge that runs and is scraped.
//
//	node .ci/prometheus.mjs
//
// Needs prometheus and promtool in the path.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { bridge, freePort, root, scratch, sleep, start, startSim } from "./process.mjs";

const began = Date.now();
const rules = path.join(root, "deploy", "prometheus");

function expect(what, holds, detail) {
  if (!holds) throw new Error(`${what}: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`);
}
function ok(what) {
  console.log(`ok    ${what}`);
}
function promtool(args, input) {
  const done = spawnSync("promtool", args, { cwd: rules, encoding: "utf8", input });
  expect(`promtool ${args.join(" ")}`, done.status === 0 && !/error|warning/i.test(done.stderr), `${done.error ?? ""}${done.stdout}${done.stderr}`);
  ok(`promtool ${args.join(" ")}`);
}

promtool(["check", "rules", "alerts.yaml"]);
promtool(["test", "rules", "alerts_test.yaml"]);

const { sim, url, id, secret } = await startSim("--seed", "1", "--speed", "20");
const address = `127.0.0.1:${await freePort()}`;
const running = start("bridge run", bridge(), ["run"], {
  BPCC_URL: url, BPCC_CLIENT_ID: id, BPCC_CLIENT_SECRET: secret, BPCC_POLL_INTERVAL: "200ms",
  // The server inside has metrics of its own, beside all others.
  BRIDGE_STORE_DIR: path.join(scratch, "store"), BRIDGE_EMBEDDED_LISTEN: "127.0.0.1:0", BRIDGE_TENANT: "metrics", BRIDGE_HTTP: address,
  BRIDGE_THRESHOLDS: JSON.stringify([{ name: "always", kind: "service", stat: "in_calls_waiting", raise: { op: ">=", value: 0 } }]),
});
const scrape = async () => (await fetch(`http://${address}/metrics`)).text().catch(() => "");
await running.ready("leader", () => /leading/.test(running.stdout + running.stderr));

const configuration = path.join(scratch, "prometheus.yml");
const data = path.join(scratch, "tsdb");
mkdirSync(data);
writeFileSync(configuration, JSON.stringify({
  global: { scrape_interval: "1s", evaluation_interval: "1s" },
  rule_files: [path.join(rules, "alerts.yaml")],
  scrape_configs: [{ job_name: "bridge", static_configs: [{ targets: [address] }] }],
}));
const prometheusAddress = `127.0.0.1:${await freePort()}`;
const prometheus = start("prometheus", "prometheus", [
  `--config.file=${configuration}`, `--storage.tsdb.path=${data}`, `--web.listen-address=${prometheusAddress}`, "--log.level=warn",
]);
async function api(what, query = {}) {
  const answer = await fetch(`http://${prometheusAddress}/api/v1/${what}?${new URLSearchParams(query)}`);
  const { status, data, error } = await answer.json();
  if (status !== "success") throw new Error(`${what} ${JSON.stringify(query)}: ${error}`);
  return data;
}
async function until(what, look, seconds = 40) {
  for (const end = Date.now() + seconds * 1000; ; await sleep(250)) {
    const found = await look().catch(() => null);
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s\n${prometheus.tail()}\n${running.tail()}`);
  }
}

/** Every expression of the dashboard, with its variables filled in. */
function dashboardExpressions() {
  const dashboard = JSON.parse(readFileSync(path.join(root, "deploy", "grafana", "dashboard.json"), "utf8"));
  const ids = new Set(dashboard.panels.map((p) => p.id));
  expect("the dashboard's panels have ids of their own", ids.size === dashboard.panels.length, [...ids]);
  const list = [...dashboard.panels.flatMap((p) => p.targets.map((t) => [p.title, t.expr])), ...dashboard.annotations.list.map((a) => [a.name, a.expr])];
  return list.map(([title, expr]) => [title, expr.replaceAll("$tenant", ".*").replaceAll("$__rate_interval", "10s").replaceAll("$__interval", "10s")]);
}

async function main() {
  promtool(["check", "metrics"], await until("a scrape", async () => (await scrape()).includes("bpcc_bridge_thresholds_raised") && scrape()));
  await until("a rate of polls", async () => (await api("query", { query: "rate(bpcc_bridge_polls_total[10s]) > 0" })).result.length);

  const groups = await until("an evaluation of each rule", async () => {
    const { groups } = await api("rules");
    return groups[0]?.rules.every((r) => r.health !== "unknown") && groups;
  });
  const alerts = groups.flatMap((g) => g.rules);
  for (const { name, health, lastError, state, annotations, labels } of alerts) {
    expect(`${name} can be evaluated, and is quiet`, health === "ok" && state === "inactive", { health, lastError, state });
    expect(`${name} says what to do`, annotations.summary && annotations.runbook && labels.severity, { annotations, labels });
  }

  ok(`${alerts.length} alerts can be evaluated, are quiet, and say what to do`);

  const there = new Set(await api("label/__name__/values"));
  const expressions = [...alerts.map((r) => [r.name, r.query]), ...dashboardExpressions()];
  for (const [title, expr] of expressions) {
    const names = expr.match(/\b(bpcc_bridge|process|go)_\w+/g) ?? [];
    const unknown = names.filter((name) => !there.has(name));
    expect(`${title}: ${names.length} metrics, all there`, names.length > 0 && unknown.length === 0, { expr, unknown });
  }
  ok(`${expressions.length} expressions name metrics that are there`);
  // What is about trouble has nothing to show while there is none.
  const empty = /> 0$|changes\(/;
  for (const [title, expr] of dashboardExpressions()) {
    const { result } = await api("query", { query: expr });
    expect(`${title}: ${result.length} series`, result.length > 0 || empty.test(expr), expr);
  }
  ok(`${dashboardExpressions().length} expressions of the dashboard have something to show`);
  const used = new Set(expressions.flatMap(([, expr]) => expr.match(/bpcc_bridge_\w+/g)).map((name) => name.replace(/_bucket$/, "")));
  const told = new Set([...(await scrape()).matchAll(/^# TYPE (bpcc_bridge_\w+)/gm)].map((m) => m[1]));
  const unused = [...told].filter((name) => !used.has(name));
  expect("every metric of the bridge is in the dashboard or an alert", unused.length === 0, unused);
  ok(`${told.size} metrics of the bridge, each in the dashboard or an alert`);
}

let failed = "";
try {
  await main();
} catch (err) {
  failed = err.stack ?? String(err);
}
for (const p of [prometheus, running, sim]) await p.stop();
if (failed) console.log(`FAIL  ${failed}`);
console.log(`\nprometheus: ${((Date.now() - began) / 1000).toFixed(1)} s`);
process.exit(failed ? 1 : 0);
