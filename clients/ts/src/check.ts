import { checkData, ForeignMessageError, isKnown, parseEnvelope } from "./event.js";
import type { FeedCheckpoint, SequenceRange } from "./events.js";
import { compareEventIds, type EventId, parseEventId } from "./id.js";
import type { Envelope } from "./types.js";

/** What a check has found in the events so far. */
export type Finding =
  | (Found & {
      /** Events are missing. */
      readonly kind: "hole";
      /** How many at least. */
      readonly missing: number;
      /** The CloudEvents subject of the entity whose events are missing, where it is known. */
      readonly entity?: string;
    })
  | (Found & {
      /** The bridge has not seen the source for a while, and says so: nothing is missing from the events. */
      readonly kind: "gap";
      /** Nothing is known after this instant; null: from the beginning. */
      readonly after: string | null;
      /** Nothing is known before this instant. */
      readonly by: string;
      /** Why, in one word. */
      readonly cause: string;
      /** Reports whether no bridge polled; the source may have been available. */
      readonly bridgeAway: boolean;
    })
  | (Found & {
      /** Messages were erased by request. */
      readonly kind: "erased";
      readonly messages: number;
    })
  | (Found & {
      /** Events are duplicate, out of order, or contradict each other. */
      readonly kind: "fault";
    })
  | (Found & {
      /** A message that the bridge did not write. */
      readonly kind: "foreign";
    });

interface Found {
  /** "" where it is not known. */
  readonly tenant: string;
  /** The id of the event that shows it; "" where there is none. */
  readonly id: string;
  /** What was found, for people to read. */
  readonly message: string;
}

export interface CheckOptions {
  /**
   * Which events are read. `stream`, the default: all events of each tenant. `entities`: all events
   * of some entities, as on `bpcc.v1.acme.agent.>`, so that only revisions and images tell what is
   * missing. `state_changes`: changes of agents' states alone, which have a number of their own,
   * `state_revision`.
   */
  reads?: "stream" | "entities" | "state_changes";
  /**
   * The sequences that were erased by request: those of `data.sequences` of all `feed.erased`. They
   * are no holes, if each event is read with its sequence.
   */
  erased?: readonly SequenceRange[];
}

/** How far the events of a tenant have been read. */
interface Position {
  id: EventId;
  last: string;
  seq: number;
  batch: number; // events since the last checkpoint, those found missing included
  cut: boolean; // the events begin within a batch
  part: number;
  parts: number;
  checkpoint: string;
}

/** The end of an entity's chain. */
interface Chain {
  seq: number;
  revision: number;
  stateRevision: number | undefined;
  gone: boolean;
  after: Image | undefined;
}

type Image = Readonly<Record<string, string | undefined>>;

/** Reports whether a finding means that the events are not what the bridge has published. */
export function isFault(finding: Finding): boolean {
  return finding.kind !== "gap" && finding.kind !== "erased";
}

/**
 * Checks events for what is missing, duplicate or contradictory.
 *
 * The events come in the order of the stream. They may begin anywhere: older ones may have left
 * the stream. {@link Check} does the same for events that come one by one.
 */
export function* check(events: Iterable<Envelope | string | Uint8Array>, options: CheckOptions = {}): Generator<Finding> {
  const checked = new Check(options);
  for (const event of events) yield* checked.read(event);
  yield* checked.end();
}

/**
 * Checks events, one by one. It holds one image for each entity and no events, so its memory does
 * not grow with the stream.
 */
export class Check {
  /** How many events have been read, and of how many polls; how many are a net change over a gap. */
  readonly counts = { events: 0, polls: 0, entities: 0, afterGap: 0 };
  readonly #reads: NonNullable<CheckOptions["reads"]>;
  readonly #erased: readonly SequenceRange[];
  readonly #positions = new Map<string, Position>();
  readonly #chains = new Map<string, Chain>();
  #found: Finding[] = [];

  constructor({ reads = "stream", erased = [] }: CheckOptions = {}) {
    this.#reads = reads;
    this.#erased = erased;
  }

  /**
   * Reads the next event, or the body of its message, and returns what it shows. The sequence is
   * that of the message in the stream, 0 if it is not known.
   */
  read(event: Envelope | string | Uint8Array, seq = 0): Finding[] {
    this.#found = [];
    this.counts.events++;
    try {
      const envelope = typeof event === "string" || event instanceof Uint8Array ? parseEnvelope(event) : event;
      if (isKnown(envelope)) checkData(envelope);
      this.#read(envelope, seq);
    } catch (err) {
      if (!(err instanceof ForeignMessageError)) throw err;
      this.#found.push({ kind: "foreign", tenant: "", id: "", message: `event ${this.counts.events} is foreign: ${err.message}` });
    }
    return this.#found;
  }

  /** Ends the check: a poll that has no checkpoint now is a hole. */
  end(): Finding[] {
    this.#found = [];
    for (const [tenant, at] of this.#positions) {
      if (at.batch > 0 || at.part < at.parts) {
        this.#found.push({ kind: "hole", tenant, id: at.last, missing: 1, message: `no checkpoint closes the events up to ${at.last}` });
      }
    }
    return this.#found;
  }

  #read(event: Envelope, seq: number): void {
    if (this.#reads === "stream") this.#position(event, seq);
    this.#chain(event, seq);
    if ("after_gap" in event.data && event.data.after_gap === true) this.counts.afterGap++;
    if (!isKnown(event)) return;
    const about = { tenant: event.data.tenant, id: event.id };
    if (event.type === "bpcc.feed.resumed.v1") {
      const { cause, bridge_away: bridgeAway = false, observed } = event.data;
      const message = `${cause}: nothing is known between ${observed.after ?? "the beginning"} and ${observed.by}`;
      this.#found.push({ kind: "gap", ...about, ...observed, cause, bridgeAway, message });
    } else if (event.type === "bpcc.feed.erased.v1") {
      const { messages } = event.data;
      this.#found.push({ kind: "erased", ...about, messages, message: `${messages} message(s) were erased` });
    }
  }

  #fault(event: Envelope, message: string): void {
    this.#found.push({ kind: "fault", tenant: event.data.tenant, id: event.id, message });
  }

  #hole(event: Envelope, missing: number, message: string, entity?: string): void {
    this.#found.push({ kind: "hole", tenant: event.data.tenant, id: event.id, missing, message, ...(entity !== undefined && { entity }) });
  }

  /**
   * Proves that no event is missing or duplicate: the id of an event is its position, of which the
   * index counts the events of a poll. Checkpoints count them, too, and each names the one before.
   */
  #position(event: Envelope, seq: number): void {
    const id = parseEventId(event.id);
    const at = this.#positions.get(id.tenant) ?? this.#begin(event, id);
    const samePoll = id.epoch === at.id.epoch && id.poll === at.id.poll;
    if (at.last !== "" && compareEventIds(id, at.id) <= 0) {
      this.#fault(event, `it comes after ${at.last}: it is duplicate or out of order`);
      return;
    }
    if (!samePoll) this.#nextPoll(event, id, at);
    else if (at.last !== "" && at.batch === 0 && at.part === at.parts) this.#fault(event, "it follows the last checkpoint of its own poll");
    const expected = samePoll ? at.id.index + 1 : 1;
    const absent = id.index - expected;
    const missing = absent > 0 ? absent - this.#erasedBetween(at.seq, seq) : 0;
    if (missing > 0) this.#hole(event, missing, `its index is ${id.index}, not ${expected}: ${missing} event(s) are missing`);
    at.batch += absent;
    Object.assign(at, { id, last: event.id, seq });
    if (isKnown(event) && event.type === "bpcc.feed.checkpoint.v1") this.#checkpoint(event, at);
    else at.batch++;
  }

  /** The position before the first event of a tenant: the history may begin within a poll. */
  #begin(event: Envelope, id: EventId): Position {
    const at = { id: { ...id, index: id.index - 1 }, last: "", seq: 0, batch: 0, cut: id.index > 1, part: 0, parts: 0, checkpoint: "" };
    this.#positions.set(event.data.tenant, at);
    this.counts.polls++;
    return at;
  }

  #nextPoll(event: Envelope, id: EventId, at: Position): void {
    // A writer that ends between two parts of a poll leaves the poll as it is.
    if (at.batch > 0 || (at.part < at.parts && id.epoch === at.id.epoch)) {
      this.#hole(event, 1, `a poll begins, and no checkpoint closes the events up to ${at.last}`);
    }
    if (id.poll <= at.id.poll) this.#fault(event, `its poll does not count on after ${at.last}`);
    Object.assign(at, { batch: 0, cut: false, part: 0, parts: 0 });
    this.counts.polls++;
  }

  #checkpoint(event: FeedCheckpoint, at: Position): void {
    const { events, part, parts, follows } = event.data;
    if (at.batch !== events && !at.cut) this.#fault(event, `it counts ${events} event(s), there are ${at.batch}`);
    if (part !== at.part + 1 && !(at.cut && part > at.part)) this.#fault(event, `part ${part} of ${parts} comes after part ${at.part}`);
    if (at.checkpoint !== "" && follows !== at.checkpoint) {
      this.#hole(event, 1, `it follows the checkpoint ${follows ?? "of no one"}, the last one here is ${at.checkpoint}`);
    }
    Object.assign(at, { batch: 0, cut: false, part, parts, checkpoint: event.id });
  }

  /**
   * Proves that every event of an entity is there: the revisions have no hole, and each image before
   * is the last image after.
   */
  #chain(event: Envelope, seq: number): void {
    const data: { tenant: string; revision?: unknown; state_revision?: unknown; before?: unknown; after?: unknown } = event.data;
    if (typeof data.revision !== "number") return;
    const state = event.type === "bpcc.agent.state_changed.v1";
    if (this.#reads === "state_changes" && !state) return;
    const { revision } = data;
    const stateRevision = typeof data.state_revision === "number" ? data.state_revision : undefined;
    const key = `${data.tenant}/${event.subject}`;
    const last = this.#chains.get(key);
    this.#chains.set(key, { seq, revision, stateRevision, gone: event.type.endsWith(".disappeared.v1"), after: data.after as Image | undefined });
    this.counts.entities = this.#chains.size;
    if (!last) return; // older events may have left the stream
    if (revision <= last.revision) {
      // The last event of who was absent may have left the stream; then the revisions begin again.
      if (!(revision === 1 && (last.gone || this.#reads === "state_changes"))) this.#fault(event, `revision ${revision} of ${event.subject} follows ${last.revision}`);
      return;
    }
    if (this.#reads === "state_changes") {
      if (stateRevision !== undefined && last.stateRevision !== undefined) this.#step(event, "state_revision", stateRevision, last.stateRevision, last.seq, seq);
      return;
    }
    this.#step(event, "revision", revision, last.revision, last.seq, seq);
    if (revision > last.revision + 1) return;
    if (stateRevision !== undefined && last.stateRevision !== undefined && stateRevision !== last.stateRevision + (state ? 1 : 0)) {
      this.#fault(event, `state_revision ${stateRevision} of ${event.subject} follows ${last.stateRevision}`);
    }
    if (data.before !== undefined && !sameImage(data.before as Image, last.after ?? {})) {
      this.#fault(event, `the image before of ${event.subject} is not the last image after`);
    }
  }

  /** Compares a number that counts an entity's events with the last one. */
  #step(event: Envelope, name: string, now: number, last: number, lastSeq: number, seq: number): void {
    if (now === last + 1) return;
    const missing = now - last - 1 - this.#erasedBetween(lastSeq, seq);
    if (now <= last) this.#fault(event, `${name} ${now} of ${event.subject} follows ${last}`);
    else if (missing > 0) this.#hole(event, missing, `${name} ${now} of ${event.subject} follows ${last}: ${missing} event(s) are missing`, event.subject);
  }

  /** How many sequences between two were erased. */
  #erasedBetween(after: number, before: number): number {
    if (after === 0 || before === 0) return 0;
    return this.#erased.reduce((n, { first, last }) => n + Math.max(0, Math.min(last, before - 1) - Math.max(first, after + 1) + 1), 0);
  }
}

function sameImage(a: Image, b: Image): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && a[name] === b[name]);
}
