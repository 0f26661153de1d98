// The promises that the bridge makes to readers of its stream, checked event by
// event. This file knows the published schemas and the README, and nothing of
// the bridge's code: it fails where a consumer written by somebody else would.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { root } from "./process.mjs";

/** The order of events within one poll. */
const ranks = [
  /^feed\.(?!checkpoint$)/,
  /^directory\./,
  /^agent\./,
  /^service\./,
  /^availability\./,
  /^totals\./,
  /^threshold\./,
  /^chat\./,
  /^feed\.checkpoint$/,
];

/** Statistics whose change is a change of state. */
const stateStats = ["acd_state", "acd_next_state", "reason"];

/** An id as one token of a subject: bytes outside A-Za-z0-9_- become =XX. */
export function token(id) {
  return [...Buffer.from(id)]
    .map((b) => (/[A-Za-z0-9_-]/.test(String.fromCharCode(b)) ? String.fromCharCode(b) : `=${b.toString(16).toUpperCase().padStart(2, "0")}`))
    .join("");
}

/** Ajv's validators by event type, one for every schema file, and one for any event, by its title. */
function loadSchemas() {
  // Strict: a keyword or format that Ajv does not know is a fault of the schema.
  const ajv = new Ajv2020({ strict: true, allErrors: true });
  addFormats(ajv);
  const dir = path.join(root, "schemas", "v1");
  const validators = new Map();
  for (const file of readdirSync(dir).filter((name) => name.endsWith(".json"))) {
    const schema = JSON.parse(readFileSync(path.join(dir, file), "utf8"));
    const validate = ajv.compile(schema);
    for (const example of schema.examples ?? []) {
      if (!validate(example)) throw new Error(`${file}: its own example is not valid: ${ajv.errorsText(validate.errors)}`);
    }
    validators.set(schema.title, { file, validate, errors: () => ajv.errorsText(validate.errors) });
  }
  return validators;
}

export class Contract {
  constructor() {
    this.schemas = loadSchemas();
    /** How often each promise was checked. */
    this.checked = new Map();
    this.faults = [];
    this.events = [];
    /** The last event of every entity, by view key. */
    this.view = new Map();
    /** Names by id, by kind of directory. */
    this.directories = new Map();
    this.ids = new Set();
    this.batch = [];
    this.last = { epoch: 0, poll: 0, part: 0, parts: 0, sequence: 0, observedUntil: "" };
  }

  /** Count a check, and remember it if it failed. */
  check(promise, holds, detail) {
    this.checked.set(promise, (this.checked.get(promise) ?? 0) + 1);
    if (holds) return;
    // A broken promise tends to break a thousand times; the first few tell why.
    if (this.faults.length < 20) this.faults.push(`${promise}: ${typeof detail === "function" ? detail() : detail}`);
    else this.more = (this.more ?? 0) + 1;
  }

  /** Take the next message of the stream, in stream order. */
  read({ subject, sequence, header, body }) {
    let event;
    try {
      event = JSON.parse(body);
    } catch (err) {
      this.check("every message is JSON", false, `${subject}: ${err.message}`);
      return;
    }
    const at = () => `${event.id} ${event.type} (sequence ${sequence})`;
    const name = String(event.type).replace(/^bpcc\.|\.v1$/g, "");
    const seen = { name, event, data: event.data, subject, sequence };
    this.events.push(seen);

    const schema = this.schemas.get(event.type);
    const valid = schema?.validate(event) ?? false;
    this.check("valid against the schema of any event", this.schemas.get("BpccEvent").validate(event) === valid, at);
    this.check("valid against its schema", valid, () => `${at()}: ${schema ? schema.errors() : "there is no such schema"}`);
    this.check("sequence without holes", sequence === this.last.sequence + 1, () => `${at()} follows ${this.last.sequence}`);
    this.last.sequence = sequence;
    this.check("ids are unique", !this.ids.has(event.id), at);
    this.ids.add(event.id);
    this.check("id is the message id", header("Nats-Msg-Id") === event.id, () => `${at()}: ${header("Nats-Msg-Id")}`);
    this.check("content type is CloudEvents", header("Content-Type") === "application/cloudevents+json", at);
    this.#position(seen, at);
    // What is not as promised cannot be read further.
    if (!valid) return;
    this.#address(seen, at);
    if (name === "directory.changed") {
      this.view.set(viewKey(subject), seen);
      this.#directory(seen, at);
    } else if (name !== "feed.checkpoint") this.#entity(seen, header, at);
  }

  /** Subject, CloudEvents subject and type say the same. */
  #address({ name, event, data, subject }, at) {
    const [kind, verb] = name.split(".");
    const ids = {
      agent: () => [data.agent.id],
      service: () => [data.service],
      availability: () => [data.service],
      totals: () => [data.app],
      threshold: () => [data.rule, data.entity.id],
      directory: () => [data.kind],
    }[kind]?.() ?? [];
    const want = ["bpcc", "v1", token(data.tenant), kind, ...ids.map(token), verb].join(".");
    this.check("subject follows from the event", subject === want, () => `${at()}: ${subject}, not ${want}`);
    const about = [kind, ...(kind === "chat" ? [data.message.id] : ids)].join("/");
    this.check("CloudEvents subject names the entity", event.subject === about, () => `${at()}: ${event.subject}, not ${about}`);
  }

  /** Batches: numbered, ordered, closed by a checkpoint that counts them. */
  #position({ name, event, data, sequence }, at) {
    const [, epoch, poll, index] = (/-(\d+)-(\d+)-(\d+)$/.exec(event.id) ?? []).map(Number);
    const last = this.last;
    this.check("poll in the id and in the data agree", poll === data?.poll, at);
    if (this.batch.length === 0) {
      const goesOn = last.part < last.parts;
      this.check("epochs and polls only rise", epoch >= last.epoch && (goesOn ? poll === last.poll : poll > last.poll),
        () => `${at()} follows poll ${last.poll} of epoch ${last.epoch}`);
      if (!goesOn) last.index = 0;
      Object.assign(last, { epoch, poll });
    }
    this.check("a batch is one poll, numbered from 1", epoch === last.epoch && poll === last.poll && index === last.index + 1,
      () => `${at()} follows index ${last.index} of poll ${last.poll}`);
    last.index = index;
    this.batch.push(ranks.findIndex((r) => r.test(name)));
    const [before, now] = this.batch.slice(-2);
    this.check("events of a poll are in their order", now === undefined || before <= now, at);
    if (name !== "feed.checkpoint" || !data) return;

    this.check("checkpoint counts its batch", data.events === this.batch.length - 1,
      () => `${at()} says ${data.events}, stored are ${this.batch.length - 1}`);
    this.check("checkpoint's epoch is that of the ids", data.epoch === epoch, at);
    const count = (kind) => [...this.view].filter(([key, e]) => key.split(".")[1] === kind && !e.gone).length;
    for (const [field, kind] of [["agents", "agent"], ["services", "service"]]) {
      this.check("checkpoint counts who is present", data[field] === count(kind),
        () => `${at()} says ${data[field]} ${field}, the events add up to ${count(kind)}`);
    }
    this.check("observed_until never goes back", !last.observedUntil || data.observed_until >= last.observedUntil, at);
    Object.assign(last, { part: data.part, parts: data.parts, observedUntil: data.observed_until, checkpoint: sequence });
    this.batch = [];
  }

  /** The chain of one entity: revisions, images, windows, removal. */
  #entity(seen, header, at) {
    const { name, event, data, subject } = seen;
    const key = viewKey(subject);
    if (!key) return;
    const last = this.view.get(key);
    this.view.set(key, seen);
    seen.key = key;
    seen.gone = name.endsWith(".disappeared");

    this.check("revisions count 1, 2, 3 …", data.revision === (last?.data.revision ?? 0) + 1,
      () => `${at()}: ${data.revision} follows ${last?.data.revision}`);
    const state = last?.data.state_revision ?? 1;
    this.check("a change of state alone raises state_revision", !name.startsWith("agent.") || data.state_revision === state + (name === "agent.state_changed" ? 1 : 0),
      () => `${at()}: ${data.state_revision} follows ${last?.data.state_revision}`);
    this.check("a removal, and nothing else, deletes the key", (header("KV-Operation") === "DEL") === seen.gone, at);
    const { after, by } = data.observed;
    this.check("windows are not inside out", after === null || after <= by, at);
    this.check("time is when it was seen", event.time === by, at);
    this.check("events of an entity are in time order", !last || last.data.observed.by <= by, at);

    const [, verb] = name.split(".");
    const lasted = data.previous_duration;
    seen.lastedSince = last?.began;
    if (lasted && seen.lastedSince?.after) {
      const most = Date.parse(by) - Date.parse(last.began.after);
      const least = Math.max(Date.parse(after) - Date.parse(last.began.by), 0); // less after a gap
      this.check("a state lasted as its windows say", Math.round(lasted.max * 1000) === most && Math.round(lasted.min * 1000) <= least,
        () => `${at()}: ${JSON.stringify(lasted)}, the windows give ${least} to ${most} ms`);
    }
    if (name === "agent.state_changed") seen.began = data.observed;
    else if (name === "agent.stats_changed") seen.began = last?.began;
    if (verb === "observed" || verb === "appeared") {
      this.check("appears only where it was not", !last || last.gone, at);
      this.check("a first snapshot has no lower bound", verb !== "observed" || after === null, at);
      return;
    }
    this.check("changes only where it was", verb === "raised" || (last && !last.gone), at);
    if (data.before) {
      this.check("before is the last after", isDeepStrictEqual(data.before, last?.data.after), () => `${at()}: ${differing(data.before, last?.data.after ?? {})}`);
    }
    if (data.before && data.after) {
      const differ = new Set(differing(data.before, data.after));
      this.check("changed names what differs", data.changed.every((stat) => differ.has(stat)) && (data.changed.length > 0 || data.reentered), at);
      const isState = (stat) => name.startsWith("agent.") && stateStats.includes(stat);
      this.check("state and statistics are told apart", data.changed.every((stat) => isState(stat) === (verb === "state_changed")), at);
    }
    if (verb === "state_changed") {
      this.check("a state change changes the state", data.reentered || !isDeepStrictEqual(data.from, data.to), at);
    }
    if (name === "availability.changed") {
      this.check("availability flips from what it was", data.previous === last?.data.available && data.available !== data.previous, at);
    }
    if (name.startsWith("threshold.")) {
      this.check("raised and cleared take turns", (verb === "raised") === (last?.name !== "threshold.raised"), at);
    }
  }

  /** Directories fold without contradiction; a baseline is the whole of one. */
  #directory({ event, data }, at) {
    const { kind, baseline, part, added, removed, renamed } = data;
    if (baseline && part === 1) this.directories.set(kind, new Map());
    const names = this.directories.get(kind);
    this.check("a directory begins with a baseline", names, at);
    if (!names) return;
    const fits = added.every((e) => !names.has(e.id)) && removed.every((e) => names.get(e.id) === e.name) && renamed.every((e) => names.get(e.id) === e.from);
    this.check("a directory's changes fit what is known of it", fits, () => `${at()}: ${JSON.stringify(event.data)}`);
    for (const { id, name } of added) names.set(id, name);
    for (const { id } of removed) names.delete(id);
    for (const { id, to } of renamed) names.set(id, to);
  }

  /** The number of events of each name. */
  counts() {
    const counts = {};
    for (const { name } of this.events) counts[name] = (counts[name] ?? 0) + 1;
    return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Print what was checked; tells whether all of it held. */
  report(print = console.log) {
    for (const [name, n] of Object.entries(this.counts())) print(`  ${String(n).padStart(6)}  ${name}`);
    print("");
    for (const [promise, n] of this.checked) print(`  ${String(n).padStart(6)}  ${promise}`);
    for (const fault of this.faults) print(`BROKEN  ${fault}`);
    if (this.more) print(`BROKEN  … and ${this.more} more`);
    return this.faults.length === 0;
  }
}

/** The key of the view that an event's subject fills, "" if none: the subject without its verb, where it has an id. */
export function viewKey(subject) {
  const [, , tenant, kind, ...rest] = subject.split(".");
  const ids = rest.slice(0, -1);
  return ids.length > 0 || (kind === "feed" && rest[0] === "checkpoint") ? [tenant, kind, ...ids].join(".") : "";
}

function differing(a, b) {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => a[name] !== b[name]);
}
