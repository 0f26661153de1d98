import { jetstream, jetstreamManager, type JetStreamOptions, type JsMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { parseMessage } from "../event.js";
import type { FeedCheckpoint } from "../events.js";
import { formatSubject, subjectFilter } from "../subject.js";
import { encodeToken } from "../token.js";
import { type EventType, isKind } from "../types.js";

export interface StreamOptions {
  /** The stream of events. Default: `BPCC_EVENTS`. */
  stream?: string;
  /** Prefix or domain of JetStream's API, and how long a request may take. */
  jetstream?: JetStreamOptions;
}

/** Which events to read. */
export interface Selection<T extends EventType = EventType> {
  /** Default: all tenants. */
  tenant?: string;
  /** The types of events. Default: all. */
  types?: readonly T[];
}

/**
 * The subjects of a selection, with wildcards. A single one is no list: then it stands in the subject
 * of the request that makes the consumer, which permissions can name.
 */
export function filters({ tenant, types }: Selection): string | string[] {
  if (types?.length === 0) throw new TypeError("select events: types is empty");
  if (!types) return tenant === undefined ? "bpcc.v1.>" : `bpcc.v1.${encodeToken(tenant)}.>`;
  const [only = "", ...more] = types.map((type) => subjectFilter(tenant, type));
  return more.length === 0 ? only : [only, ...more];
}

/**
 * Reads the messages that the stream holds, in its order, from its beginning to its present end. It
 * leaves nothing behind on the server. {@link parseMessage} reads a message.
 */
export async function* replay(nc: NatsConnection, options: Selection & StreamOptions = {}): AsyncGenerator<JsMsg> {
  const { stream = "BPCC_EVENTS" } = options;
  const consumer = await jetstream(nc, options.jetstream).consumers.get(stream, { filter_subjects: filters(options) });
  if ((await consumer.info(true)).num_pending === 0) return;
  const messages = await consumer.consume({ expires: requestTime });
  const iterator = messages[Symbol.asyncIterator]();
  try {
    for (let pending = 1; pending > 0; ) {
      const { value: message, done } = await within(silence, iterator.next());
      if (done) throw new Error("replay events: the connection was closed before the end of the stream");
      yield message;
      pending = message.info.pending; // a batch is stored whole, so the end is never within one
    }
  } finally {
    messages.stop();
    if (!nc.isClosed()) await consumer.delete().catch(() => false);
  }
}

/**
 * For how many milliseconds a request for messages lasts. A server of a cluster that does not know yet where
 * a consumer is loses the request. The client notices that by missing heartbeats, after half as long again, and
 * sends another one.
 */
export const requestTime = 5_000;

/** For how many milliseconds a server may deliver nothing. It never delivers a message that is damaged on its disk. */
const silence = 30_000;

async function within<T>(limit: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`replay events: the server has delivered nothing for ${limit / 1000} s`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The last message on a subject. It is read from the stream's leader: a replica may be behind. */
async function last(nc: NatsConnection, { stream = "BPCC_EVENTS", jetstream: api }: StreamOptions, subject: string) {
  const jsm = await jetstreamManager(nc, { ...api, checkAPI: false });
  const message = await jsm.streams.getMessage(stream, { last_by_subj: subject });
  return message && { seq: message.seq, stored: message.time, event: parseMessage({ subject: message.subject, data: message.data, headers: message.header }) };
}

/** Returns a tenant's last checkpoint in the stream, and when the server stored it; null if there is none. */
export async function lastCheckpoint(nc: NatsConnection, options: StreamOptions & { tenant: string }): Promise<{ checkpoint: FeedCheckpoint; stored: Date } | null> {
  const found = await last(nc, options, formatSubject({ tenant: options.tenant, kind: "feed", ids: [], verb: "checkpoint" }));
  return found && { checkpoint: found.event as FeedCheckpoint, stored: found.stored };
}

/** Reads from the stream whether an agent is available for a service, and the checkpoint that says until when. */
export async function readAvailability(
  nc: NatsConnection, options: StreamOptions & { tenant: string; service: string },
): Promise<{ checkpoint: FeedCheckpoint; stored: Date; available: boolean | null }> {
  // The checkpoint first: what is read later is not older.
  const checkpoint = await lastCheckpoint(nc, options);
  if (!checkpoint) throw new Error("the stream has no checkpoint");
  const { tenant, service } = options;
  const events = await Promise.all(["observed", "changed"].map((verb) => last(nc, options, formatSubject({ tenant, kind: "availability", ids: [service], verb }))));
  const latest = events.filter((found) => found !== null).sort((a, b) => b.seq - a.seq)[0];
  const available = latest && isKind(latest.event, "availability") ? latest.event.data.available : null;
  return { ...checkpoint, available };
}
