import { createHash } from "node:crypto";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import { encodeToken } from "bpcc-events";

/** The server that .ci/clients.mjs has started; it has the streams as the bridge makes them. */
export async function dial(): Promise<NatsConnection> {
  return connect({ servers: process.env.NATS_URL!, timeout: 5_000, reconnectTimeWait: 50 });
}

export const iso = (ms: number) => new Date(ms).toISOString();

/** Waits until something holds. */
export async function until<T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (const end = Date.now() + 10_000; ; ) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Publishes events of one tenant as a bridge does, one poll after the other. */
export class Publisher {
  poll = 0;
  index = 0;
  readonly revisions = new Map<string, number>();

  constructor(readonly nc: NatsConnection, readonly tenant: string) {}

  /** An event with the next id. */
  event(name: string, subject: string, data: object) {
    this.poll ||= 1;
    const id = `${this.tenant}-1-${this.poll}-${++this.index}`;
    const schema = `urn:bpcc:schema:v1:${name}`;
    return {
      specversion: "1.0", id, source: "https://example.com/statsapi", type: `bpcc.${name}.v1`, subject, time: iso(Date.now()),
      datacontenttype: "application/json", dataschema: schema, data: { tenant: this.tenant, poll: this.poll, ...data },
    };
  }

  #entity(subject: string) {
    const revision = (this.revisions.get(subject) ?? 0) + 1;
    this.revisions.set(subject, revision);
    return { revision, observed: { after: null, by: iso(Date.now()) } };
  }

  state(agent: string, state: string) {
    const subject = `agent/${agent}`;
    const after = { acd_state: state };
    return this.#publish(`agent.${encodeToken(agent)}.state_changed`, this.event("agent.state_changed", subject, {
      ...this.#entity(subject), agent: { id: agent }, from: {}, to: { state }, changed: ["acd_state"], before: {}, after,
    }));
  }

  leave(agent: string) {
    const subject = `agent/${agent}`;
    const event = this.event("agent.disappeared", subject, { ...this.#entity(subject), agent: { id: agent }, from: {}, before: {} });
    return this.#publish(`agent.${encodeToken(agent)}.disappeared`, event, { "KV-Operation": "DEL" });
  }

  availability(service: string, available: boolean | null) {
    const subject = `availability/${service}`;
    const event = this.event("availability.observed", subject, { ...this.#entity(subject), service, available });
    return this.#publish(`availability.${encodeToken(service)}.observed`, event);
  }

  checkpoint(data: object = {}) {
    const events = this.index;
    const now = iso(Date.now());
    return this.event("feed.checkpoint", "feed", {
      status: "live", epoch: 1, part: 1, parts: 1, events, observed_until: now, availability_until: now, agents: 0, services: 0,
      instance: "test", observing: [], ...data,
    });
  }

  /** Publishes the checkpoint that ends the poll. */
  async close(data: object = {}) {
    const event = this.checkpoint(data);
    await this.#publish("feed.checkpoint", event);
    this.poll++;
    this.index = 0;
    return event;
  }

  /** Publishes a message that no bridge wrote. */
  async foreign(subject: string): Promise<void> {
    await jetstream(this.nc).publish(`bpcc.v1.${this.tenant}.${subject}`, "hello");
  }

  async #publish(subject: string, event: { id: string }, more: Record<string, string> = {}) {
    const h = headers();
    h.set("Nats-Msg-Id", event.id);
    h.set("Content-Type", "application/cloudevents+json");
    for (const [name, value] of Object.entries(more)) h.set(name, value);
    await jetstream(this.nc).publish(`bpcc.v1.${this.tenant}.${subject}`, JSON.stringify(event), { headers: h });
    return event;
  }
}

/** A bucket that no stream fills, so that it is as far behind as a test wants. */
export class Bucket {
  private constructor(private readonly nc: NatsConnection, readonly name: string) {}

  static async make(nc: NatsConnection): Promise<Bucket> {
    const bucket = new Bucket(nc, `b${createHash("sha256").update(String(Math.random())).digest("hex").slice(0, 12)}`);
    await bucket.create();
    return bucket;
  }

  async create(): Promise<void> {
    const jsm = await jetstreamManager(this.nc);
    await jsm.streams.add({ name: `KV_${this.name}`, subjects: [`$KV.${this.name}.>`], max_msgs_per_subject: 1, allow_direct: true });
  }

  async put(key: string, value: object): Promise<void> {
    await jetstream(this.nc).publish(`$KV.${this.name}.${key}`, JSON.stringify(value));
  }

  async delete(): Promise<void> {
    await (await jetstreamManager(this.nc)).streams.delete(`KV_${this.name}`);
  }

  /** The filters of the consumers that read it. */
  async consumers(): Promise<(string | undefined)[]> {
    const found: (string | undefined)[] = [];
    for await (const { config } of (await jetstreamManager(this.nc)).consumers.list(`KV_${this.name}`)) found.push(config.filter_subject);
    return found;
  }
}
