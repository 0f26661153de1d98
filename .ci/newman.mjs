// The vendor's own requests against the simulated tenant: whoever trusts the
// simulator in tests must be able to trust that it answers what is documented.
//
// Every request of the vendor's Postman collection runs, as defined and as in
// its saved examples, and must get its documented status and the shape of its
// saved answer. The collection is read from where the vendor's documentation was
// saved; it is not part of this repository.
//
//	node .ci/newman.mjs

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import newman from "newman";
import { root, startSim } from "./process.mjs";

const file = path.resolve(root, process.env.BPCC_COLLECTION || "../shared/api/bpcc-realtime-statistics.postman_collection.json");
if (!existsSync(file)) {
  console.log(`
*** LEFT OUT: the vendor's requests were NOT run against the simulated tenant. ***

There is no collection at ${file}.
It is the vendor's and not in this repository. To run this step, open the public
documentation "BPCC Real-Time Statistics API" that help.brightpattern.com links
to, choose "Run in Postman", export the collection as JSON (v2), and set
BPCC_COLLECTION to that file.
`);
  process.exit(0);
}
const collection = JSON.parse(readFileSync(file, "utf8"));
// What is asked here is on this machine; a proxy could only be in the way.
process.env.NO_PROXY = process.env.no_proxy = "127.0.0.1";

const vendor = new Map(collection.item.flatMap((f) => f.item ?? [f]).map((item) => [item.name, item]));
const used = new Set();
function item(name) {
  const found = vendor.get(name);
  if (!found) throw new Error(`the collection has no request "${name}"; it has ${[...vendor.keys()].join(", ")}`);
  used.add(name);
  return found;
}

/** The tenant that requests go to, and what stands for the vendor's placeholders. */
class Tenant {
  static async open(label, ...args) {
    const tenant = Object.assign(new Tenant(), { label, ...(await startSim("--seed", "7", ...args)) });
    // The ids in the saved examples are those of the vendor's tenant.
    const { access_token: bearer } = await (await fetch(`${tenant.url}/configapi/v2/oauth/token`, {
      method: "POST",
      body: new URLSearchParams({ grant_type: "client_credentials", client_id: tenant.id, client_secret: tenant.secret, scope: "any" }),
    })).json();
    const list = async (what) =>
      (await fetch(`${tenant.url}/statsapi/cfg/${what}`, { headers: { Authorization: `Bearer ${bearer}` } })).json();
    tenant.teams = await list("teams");
    tenant.services = await list("services");
    tenant.host = "sim.brightpattern.com";
    return tenant;
  }

  /** The vendor's request for this tenant: its placeholders and samples replaced, all else as it is. */
  fill(request) {
    const out = structuredClone(request);
    delete out.description;
    delete out.urlObject; // says the same as url
    let url = typeof out.url === "string" ? out.url : out.url.raw;
    url = url.replace(/^https:\/\/[^/]+/, this.url);
    // Typo of the vendor: the saved example of Delete Subscription lacks
    // /statsapi in its URL, which the definition of the same request has.
    url = url.replace(`${this.url}/subscription/`, `${this.url}/statsapi/subscription/`);
    out.url = url.replace(/([?&]service=)[^&]*/, (_, name) => name + encodeURIComponent(this.services[0].name));

    for (const header of out.header ?? []) {
      if (header.key !== "Authorization") continue;
      // Typo of the vendor: one saved example has a doubled brace around the name
      // of a token in its author's vault, which a runner takes for a variable.
      if (header.value === "{{vault:bearer-token}}" || header.value === "Bearer <access_token>") header.value = "Bearer {{access_token}}";
      // The other saved examples stem from the cookie login: they send the token
      // that Authenticate answers, bare, beside the cookie.
      else header.value = "{{cookie_token}}";
    }
    const form = { client_id: this.id, client_secret: this.secret, scope: this.host, grant_type: "client_credentials" };
    for (const field of out.body?.urlencoded ?? []) {
      field.value = form[field.key];
      delete field.description;
    }
    if (out.body?.mode === "raw") out.body.raw = JSON.stringify(this.body(out.body.raw));
    return out;
  }

  body(raw) {
    // The definition of Create Subscription is a template with comments.
    const body = JSON.parse(raw.replace(/\/\/.*$/gm, ""));
    if ("username" in body) return { ...body, tenant_url: this.host, username: this.id, password: this.secret };
    if ("<app id>" in body) return fillTemplate(body);
    for (const app of Object.values(body)) {
      for (const grid of app.agent_grids ?? []) grid.team_ids = grid.team_ids.map((_, i) => this.teams[i].id);
      if (app.stats_totals_service_ids) app.stats_totals_service_ids = app.stats_totals_service_ids.map((_, i) => this.services[i].id);
    }
    return body;
  }
}

/** The template of a subscription, each placeholder replaced and each key kept. */
function fillTemplate(template) {
  const app = template["<app id>"];
  const grid = (g, stats, values) => ({
    ...g,
    id: "grid",
    columns: stats.map((stat, i) => {
      const { dispositions, ...column } = g.columns[0];
      const more = stat === "calls_dispositions_per_day" && dispositions ? { dispositions: ["Product sold"] } : {};
      return { ...column, id: String(i + 1), stat_name: stat, ...more };
    }),
    ...values,
  });
  return {
    "wall board": {
      ...app,
      stats_totals: ["agents_logged", "agents_ready", "in_average_speed_of_answer"],
      service_grids: [grid(app.service_grids[0], ["name", "in_calls_waiting"],
        { order_by: "1", order_dir: "DESC", limit: "3", filter_by: "2", filter_value: "0", filter_operation: "GE" })],
      agent_grids: [grid(app.agent_grids[0], ["login_id", "acd_state", "calls_dispositions_per_day"],
        { order_by: "1", order_dir: "ASC", limit: "5", filter_by: "2", filter_value: "", filter_operation: "NE" })],
      chat_messages: { ...app.chat_messages, filter: "", limit: "5" },
    },
  };
}

// What follows runs inside the runner's sandbox: each function is sent as text.

function likeExample(body, want, expect) {
  const like = (example, have, at) => {
    if (Array.isArray(example)) {
      expect(have, at).to.be.an("array").that.is.not.empty;
      have.forEach((element, i) => like(example[0], element, `${at}[${i}]`));
    } else if (example !== null && typeof example === "object") {
      expect(have, at).to.be.an("object");
      expect(Object.keys(have), at).to.have.members(Object.keys(example));
      for (const key of Object.keys(example)) like(example[key], have[key], `${at}.${key}`);
    } else {
      expect(have, at).to.be.a(typeof example);
    }
  };
  like(want.example, body, "body");
}

function isToken(body, want, expect) {
  expect(body.token_type).to.equal("Bearer");
  expect(body.expires_in, "seconds, as text").to.match(/^[1-9][0-9]*$/);
  expect(body.access_token).to.match(/^[0-9A-F]{64}$/);
}

function isRefusedLogin(body, want, expect) {
  expect(body).to.deep.equal({ error: "illegal login attempt" });
}

function isData(body, want, expect) {
  expect(body, "its app ids").to.have.all.keys(...Object.keys(want.apps));
  for (const [id, app] of Object.entries(want.apps)) {
    const sections = ["stats_totals", "service_grids", "agent_grids", "chat_messages"].filter((s) => s in app);
    expect(body[id], `sections of ${id}: those asked for`).to.have.all.keys(...sections);
    if (app.stats_totals) {
      expect(body[id].stats_totals).to.have.all.keys(...app.stats_totals);
      for (const v of Object.values(body[id].stats_totals)) expect(v, "a total").to.be.a("string");
    }
    if (app.chat_messages) expect(body[id].chat_messages).to.be.an("array");
    for (const section of ["service_grids", "agent_grids"]) {
      (app[section] || []).forEach((asked, i) => {
        const grid = body[id][section][i];
        expect(grid).to.have.all.keys("id", "values");
        expect(grid.id).to.equal(asked.id);
        expect(grid.values, `rows of ${section}`).to.be.an("array").that.is.not.empty;
        expect(grid.values.length, "its limit").to.be.at.most(Number(asked.limit));
        for (const row of grid.values) {
          // A column id may be asked for as a number; it comes back as a key.
          expect(row, "a row").to.have.all.keys(...asked.columns.map((c) => String(c.id)));
          for (const v of Object.values(row)) expect(v, "a cell").to.be.a("string");
        }
        const order = asked.order ? asked.order[0] : { by: asked.order_by, dir: asked.order_dir };
        const sorted = grid.values.map((row) => row[order.by]);
        const inOrder = sorted.every((v, n) => n === 0 || (order.dir === "ASC" ? sorted[n - 1] <= v : sorted[n - 1] >= v));
        expect(inOrder, `rows ${order.dir} by ${order.by}: ${sorted}`).to.equal(true);
        if (asked.filter_operation === "NE") {
          for (const row of grid.values) expect(row[asked.filter_by], "the filter").to.not.equal(asked.filter_value);
        }
      });
    }
  }
}

/** The script that the runner executes after a request. */
function script(want, checks) {
  const keep = want.keep ? `pm.environment.set(${JSON.stringify(want.keep[1])}, pm.response.json()[${JSON.stringify(want.keep[0])}]);` : "";
  const body = want.body === "none"
    ? `pm.test("no body", () => { pm.expect(pm.response.text()).to.equal(""); pm.expect(pm.response.headers.get("Content-Type")).to.equal(undefined); });`
    : `pm.test("JSON", () => { pm.expect(pm.response.headers.get("Content-Type")).to.match(/^application\\/json/); pm.response.json(); });`;
  const lines = [
    `const want = ${JSON.stringify(want)};`,
    `pm.test("status " + want.status, () => pm.expect(pm.response.code).to.equal(want.status));`,
    body,
    ...checks.map((check) => `pm.test(${JSON.stringify(check.name)}, () => (${check})(pm.response.json(), want, pm.expect));`),
    keep,
  ];
  return [{ listen: "test", script: { type: "text/javascript", exec: lines } }];
}

/** One request: the vendor's, by its definition or as in its saved example. */
function ask(tenant, name, which, want, ...checks) {
  const source = item(name);
  const saved = source.response[0];
  const request = tenant.fill(which === "saved" ? saved.originalRequest : source.request);
  if (want.change) want.change(request);
  if (checks.includes(likeExample)) want.example = JSON.parse(saved.body);
  return { name: `${name} (${want.as ?? which})`, request, event: script(want, checks), want };
}

const nothing = { status: 200, body: "none" };

/** The life of a client of today: a token, a subscription, its data, look-ups, the end. */
function oauthPlan(t) {
  const create = (which) => {
    const asked = ask(t, "Create Subscription", which, { ...nothing });
    return { asked, apps: JSON.parse(asked.request.body.raw) };
  };
  const [filled, saved] = [create("defined"), create("saved")];
  // Which of the two stands in Authorization is not what these are about.
  const bearer = (request) => request.header.forEach((h) => (h.value = h.key === "Authorization" ? "Bearer {{access_token}}" : h.value));
  const unknown = (request) => request.header.forEach((h) => (h.value = h.key === "Authorization" ? "Bearer unknown" : h.value));
  bearer(saved.asked.request);
  const data = (want, ...checks) => ask(t, "Get Subscription Data", "defined", want, ...checks);
  return [
    ask(t, "Get Access Token", "defined", { status: 200, keep: ["access_token", "access_token"] }, likeExample, isToken),
    ask(t, "Get Access Token", "saved", { status: 200 }, likeExample, isToken),
    ask(t, "Get Access Token", "defined", { status: 401, as: "wrong secret", change: (r) => (r.body.urlencoded.find((f) => f.key === "client_secret").value = "wrong") }),
    // Release 5.36 and later know this login no more.
    ask(t, "Authenticate", "defined", { status: 403 }, isRefusedLogin),
    data({ status: 404, as: "before a subscription" }),
    // Saved with statName, order and a column id that is a number.
    saved.asked,
    data({ status: 204, body: "none", as: "not ready yet" }),
    data({ status: 200, apps: saved.apps, as: "of the saved subscription" }, isData),
    ask(t, "Get Dispositions", "defined", { status: 200 }, likeExample),
    ask(t, "Get Dispositions", "saved", { status: 200, as: "saved, inbound=1", change: bearer }, likeExample),
    ask(t, "Get Teams", "defined", { status: 200 }, likeExample),
    ask(t, "Get Available Agents", "defined", { status: 200 }, likeExample),
    // Defined with stat_name, order_by and limits that are text.
    filled.asked,
    data({ status: 204, body: "none", as: "not ready yet" }),
    data({ status: 200, apps: filled.apps, as: "of the defined subscription" }, isData),
    ask(t, "Delete Subscription", "defined", { ...nothing }),
    data({ status: 404, as: "after the end" }),
    ...["Create Subscription", "Get Subscription Data", "Get Dispositions"].map((name) =>
      ask(t, name, "saved", { status: 401, as: "with an unknown token", change: unknown })),
    ask(t, "Create Subscription", "defined", { status: 400, as: "a body that is none", change: (r) => (r.body.raw = "{") }),
  ];
}

/** The same with the login of older releases: the saved examples are such a conversation. */
function cookiePlan(t) {
  const create = ask(t, "Create Subscription", "saved", { ...nothing });
  const apps = JSON.parse(create.request.body.raw);
  const data = (want, ...checks) => ask(t, "Get Subscription Data", "saved", want, ...checks);
  return [
    ask(t, "Get Subscription Data", "saved", { status: 401, as: "before the login", change: (r) => (r.header = []) }),
    ask(t, "Authenticate", "defined", { status: 401, as: "wrong password", change: (r) => (r.body.raw = JSON.stringify({ ...JSON.parse(r.body.raw), password: "wrong" })) }),
    ask(t, "Authenticate", "defined", { status: 200, keep: ["token", "cookie_token"] }, likeExample),
    ask(t, "Authenticate", "saved", { status: 200, keep: ["token", "cookie_token"] }, likeExample),
    create,
    data({ status: 204, body: "none", as: "saved, not ready yet" }),
    data({ status: 200, apps }, isData),
    ask(t, "Get Dispositions", "saved", { status: 200 }, likeExample),
    ask(t, "Get Access Token", "saved", { status: 200, keep: ["access_token", "access_token"] }, likeExample, isToken),
    ask(t, "Get Teams", "saved", { status: 200 }, likeExample),
    ask(t, "Get Available Agents", "saved", { status: 200 }, likeExample),
    ask(t, "Delete Subscription", "saved", { ...nothing }),
    data({ status: 404, as: "saved, after the end" }),
  ];
}

function run(tenant, plan) {
  const { info } = collection;
  return new Promise((resolve, reject) =>
    newman.run(
      {
        collection: { info: { name: info.name, schema: info.schema }, item: plan.map(({ name, request, event }) => ({ name, request, event })) },
        reporters: [],
        ignoreRedirects: true,
        timeoutRequest: 10_000,
        timeoutScript: 10_000,
      },
      (err, summary) => (err ? reject(err) : resolve(summary)),
    ),
  );
}

const rows = [["tenant", "request", "asked", "documented", "answered", "checks", "result"]];
const faults = [];
let [requests, assertions] = [0, 0];
for (const [label, args, makePlan] of [["5.36", [], oauthPlan], ["older", ["--cookie"], cookiePlan]]) {
  const tenant = await Tenant.open(label, ...args);
  const plan = makePlan(tenant);
  const { run: done } = await run(tenant, plan);
  if (done.executions.length !== plan.length) faults.push(`${label}: ${done.executions.length} of ${plan.length} requests ran`);
  for (const failure of done.failures) faults.push(`${label}: ${failure.source?.name}: ${failure.error?.message}`);
  done.executions.forEach((x, i) => {
    const checks = x.assertions ?? [];
    const bad = checks.filter((a) => a.error);
    if (checks.length < 2) faults.push(`${label}: ${x.item.name}: was not checked`);
    requests++;
    assertions += checks.length;
    rows.push([label, x.item.name, `${x.request.method} ${x.request.url.getPathWithQuery()}`, plan[i].want.status, x.response?.code ?? "none",
      checks.length, bad.length || !x.response ? "FAIL" : "ok"]);
  });
  await tenant.sim.stop();
}
for (const name of vendor.keys()) if (!used.has(name)) faults.push(`the collection's request "${name}" was not run`);

const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
for (const row of rows) console.log(row.map((cell, i) => String(cell).padEnd(widths[i])).join("  ").trimEnd());
if (assertions === 0) faults.push("not one assertion was made");
for (const fault of faults) console.log(`FAIL  ${fault}`);
console.log(`\nnewman: ${requests} requests, ${assertions} assertions, ${faults.length} faults`);
process.exit(faults.length > 0 ? 1 : 0);
