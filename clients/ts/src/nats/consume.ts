import { AckPolicy, type ConsumerConfig, DeliverPolicy, jetstream, jetstreamManager, type JsMsg } from "@nats-io/jetstream";
import { nanos, type NatsConnection } from "@nats-io/nats-core";
import { MessageError, parseMessage } from "../event.js";
import { compareEventIds, type EventId, EventIdError, formatEventId, parseEventId } from "../id.js";
import type { EventOf, EventType } from "../types.js";
import { filters, lastCheckpoint, requestTime, type Selection, type StreamOptions } from "./stream.js";

export interface ConsumeOptions<T extends EventType> extends Selection<T>, StreamOptions {
  tenant: string;
  /** The name of the durable consumer, for which the server stores how far it is. */
  durable: string;
  /** The id of the last event whose effect is stored. Up to it nothing is handed over. */
  after?: string | undefined;
  /** Where the consumer begins at its very first start. Default: `beginning`. */
  from?: "beginning" | "now";
  /**
   * For how many milliseconds the server waits for a sign of life before it hands the event to another
   * process with the same name. Default: 30,000. While the handler works, there is a sign every third of it.
   */
  ackWait?: number;
  /** Ends it after the event that is being worked on. */
  signal?: AbortSignal;
  /** Called for messages that are skipped: foreign ones, and events of a later version. */
  onSkipped?: (err: MessageError, subject: string) => void;
}

/** Thrown where the stream ends before the event that a consumer is to continue after: it is another history. */
export class OtherTimelineError extends Error {
  override readonly name = "OtherTimelineError";
}

/**
 * Hands each event to a handler, in the order of the stream, until the signal is aborted. One event
 * is worked on at a time. It is acknowledged when the handler has returned.
 *
 * After a crash between the two, the event comes again. Store its id together with its effect, and
 * give it as `after`: then each event has its effect once. In one call, no event is handed over twice.
 *
 * If the handler throws, so does this. The event is not acknowledged, and comes first at the next
 * call.
 *
 * @throws {OtherTimelineError} The stream ends before `after`.
 * @throws {EventIdError} `after` is no id of the tenant.
 */
export async function consume<T extends EventType = EventType>(
  nc: NatsConnection, options: ConsumeOptions<T>, handle: (event: EventOf<T>) => void | Promise<void>,
): Promise<void> {
  const { tenant, durable, stream = "BPCC_EVENTS", from = "beginning", ackWait = 30_000, signal, onSkipped } = options;
  let after = options.after === undefined ? undefined : parseEventId(options.after);
  if (after && after.tenant !== tenant) throw new EventIdError(`consume events: ${options.after} is not of the tenant ${tenant}`);
  if (after) await checkTimeline(nc, options, after);
  await openConsumer(nc, stream, options, filters({ tenant, ...(options.types && { types: options.types }) }), {
    ack_wait: nanos(ackWait),
    max_ack_pending: 1, // keeps the order, also where an event comes again
  }, from === "now" ? DeliverPolicy.New : DeliverPolicy.All);
  const consumer = await jetstream(nc, options.jetstream).consumers.get(stream, durable);
  const messages = await consumer.consume({ abort_on_missing_resource: true, expires: requestTime });
  const stop = () => messages.stop();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  let settle: (() => void) | undefined;
  try {
    for await (const message of messages) {
      settle = () => message.nak();
      const sign = setInterval(() => message.working(), ackWait / 3);
      await work(message).finally(() => clearInterval(sign));
      settle = () => message.ack();
      if (signal?.aborted) break;
      settle(); // if this is lost, the event comes again, and is acknowledged again
      settle = undefined;
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    await messages.close();
    // Only now: the answer makes the server send the next message, which would find nobody here.
    if (settle && !nc.isClosed()) {
      await flush(nc);
      settle();
      await flush(nc);
    }
  }
  if (!signal?.aborted) throw new Error("consume events: the connection was closed");

  async function work(message: JsMsg): Promise<void> {
    let event: EventOf<T>;
    try {
      event = parseMessage(message) as EventOf<T>;
    } catch (err) {
      if (!(err instanceof MessageError)) throw err;
      // It would be the same when it came again, and would hold up all later events.
      onSkipped?.(err, message.subject);
      return;
    }
    const id = parseEventId(event.id);
    if (after && compareEventIds(id, after) <= 0) return;
    await handle(event);
    after = id;
  }
}

/** Checks that the stream holds the event that a consumer continues after, or has held it. */
async function checkTimeline(nc: NatsConnection, options: { tenant: string } & StreamOptions, after: EventId): Promise<void> {
  try {
    const end = (await lastCheckpoint(nc, options))?.checkpoint.id;
    if (end !== undefined && compareEventIds(parseEventId(end), after) >= 0) return;
    throw new OtherTimelineError(`consume events: the stream ends at ${end ?? "no checkpoint"}, before ${formatEventId(after)}`);
  } catch (err) {
    if (!(err instanceof MessageError)) throw err; // a foreign message hides the last checkpoint
  }
}

/** Waits until the server has received everything; for a second at most, since it may be away. */
async function flush(nc: NatsConnection): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, 1_000)));
  await Promise.race([nc.flush().catch(() => undefined), late]);
  clearTimeout(timer);
}

/** What of a durable consumer may be changed after its first start. */
type Settings = Required<Pick<ConsumerConfig, "ack_wait" | "max_ack_pending">>;

/**
 * Makes the durable consumer, or gives it new settings. One that is as it should be is only looked
 * at, which needs fewer permissions.
 */
async function openConsumer(
  nc: NatsConnection, stream: string, { durable, jetstream }: { durable: string } & StreamOptions,
  subjects: string | string[], settings: Settings, deliver_policy: DeliverPolicy,
): Promise<void> {
  const { consumers } = await jetstreamManager(nc, { ...jetstream, checkAPI: false });
  const filter = typeof subjects === "string" ? { filter_subject: subjects } : { filter_subjects: subjects };
  let config: ConsumerConfig;
  try {
    ({ config } = await consumers.info(stream, durable));
  } catch (err) {
    if (!(err instanceof Error && err.name === "ConsumerNotFoundError")) throw err;
    await consumers.add(stream, { durable_name: durable, deliver_policy, ack_policy: AckPolicy.Explicit, ...filter, ...settings });
    return;
  }
  const have = [config.filter_subjects ?? config.filter_subject ?? ""].flat().sort();
  const want = [subjects].flat().sort();
  const same = have.join(" ") === want.join(" ") && config.ack_wait === settings.ack_wait && config.max_ack_pending === settings.max_ack_pending;
  // The client keeps what is not given, and a list must take the place of a single subject.
  const cleared: object = { filter_subject: undefined, filter_subjects: undefined };
  if (!same) await consumers.update(stream, durable, { ...cleared, ...filter, ...settings });
}
