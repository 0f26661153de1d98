import { DeliverPolicy, type JetStreamClient } from "@nats-io/jetstream";

/** A message of a bucket's stream: the value of a key, or the end of one. */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Reports whether the key has no value any more. */
  readonly removed: boolean;
  /** When the server stored it. */
  readonly stored: Date;
}

/**
 * Reads the present values of keys, then their changes, in the order of the stream. It returns
 * when the signal is aborted, and when changes may have been missed: then it is to be called again.
 *
 * One reading of all keys, and not a get of each: two gets may be answered by replicas that are
 * not equally far.
 *
 * @param filters Of keys, with the wildcards of NATS.
 * @param current Called once, when the values that were there at first have been read.
 */
export async function watch(
  js: JetStreamClient, bucket: string, filters: readonly string[], signal: AbortSignal,
  entry: (entry: Entry) => void, current: () => void,
): Promise<void> {
  const prefix = `$KV.${bucket}.`;
  const [only, ...more] = filters.map((filter) => prefix + filter);
  // A single filter stands in the subject of the request, which permissions can name.
  const filter_subjects = only !== undefined && more.length === 0 ? only : [only ?? `${prefix}>`, ...more];
  const consumer = await js.consumers.getPushConsumer(`KV_${bucket}`, { filter_subjects, deliver_policy: DeliverPolicy.LastPerSubject });
  const { num_pending: present } = await consumer.info(true);
  const messages = await consumer.consume();
  const stop = () => messages.stop();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  // The client resumes after the last message. If the view was made anew meanwhile, its
  // sequences began again, so nothing would come for long.
  void (async () => {
    for await (const { type } of messages.status()) {
      if (type !== "heartbeat" && type !== "flow_control" && type !== "debug") stop();
    }
  })();
  try {
    let read = 0;
    if (present === 0) current();
    for await (const message of messages) {
      const removed = ["DEL", "PURGE"].includes(message.headers?.get("KV-Operation") ?? "");
      entry({ key: message.subject.slice(prefix.length), value: message.data, removed, stored: message.time });
      const wasCurrent = read >= present;
      read = message.info.pending === 0 ? Math.max(read + 1, present) : read + 1;
      if (!wasCurrent && read >= present) current();
    }
  } finally {
    signal.removeEventListener("abort", stop);
    await consumer.delete().catch(() => false); // the server deletes it some minutes later
  }
}
