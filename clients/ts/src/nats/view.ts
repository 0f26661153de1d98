import { jetstream, type JetStreamOptions } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { MessageError, parseViewValue } from "../event.js";
import type { BpccEvent, FeedCheckpoint } from "../events.js";
import { defaultStaleAfter, type Freshness, freshness } from "../freshness.js";
import { encodeToken } from "../token.js";
import { type EventOfKind, isKind, type Kind } from "../types.js";
import { readAvailability } from "./stream.js";
import { type Entry, watch } from "./watch.js";

/** The kinds of entities whose present state the view holds. */
export type ViewKind = Exclude<Kind, "feed" | "chat" | "directory">;

/** The latest event of a present entity of a kind. */
export type Latest<K extends ViewKind> = Exclude<EventOfKind<K>, { type: `bpcc.${string}.disappeared.v1` }>;

export interface ViewOptions {
  tenant: string;
  /** The kinds to keep. Default: all. */
  kinds?: readonly ViewKind[];
  /** The age in milliseconds from which a live feed counts as stale. Default: 35,000. */
  staleAfter?: number;
  /** The age in milliseconds from which an availability is not relied on. Default: 10,000 more than `staleAfter`. */
  availabilityStaleAfter?: number;
  /** Called with the changes of each poll, and with those found when the view was read anew. */
  onUpdate?: (changes: readonly Change[]) => void;
  /** The stream of events. Default: `BPCC_EVENTS`. */
  stream?: string;
  /** The bucket of the view. Default: `bpcc_state`. */
  bucket?: string;
  /** Prefix or domain of JetStream's API, and how long a request may take. */
  jetstream?: JetStreamOptions;
}

/** A key of the view that has another value than before. */
export interface Change {
  readonly key: string;
  readonly before: BpccEvent | undefined;
  /** Undefined where the entity is gone, or a foreign message hides its event. */
  readonly after: BpccEvent | undefined;
}

/** Whether a contact may be sent to a service now. */
export interface Answer {
  /** Reports whether it may. */
  readonly route: boolean;
  /** Why, or why not, for people to read. */
  readonly reason: string;
  /** Whether an agent is available; null if it is not known. */
  readonly available: boolean | null;
  readonly freshness: Freshness;
}

/** The last checkpoint, and when it came. */
interface Feed {
  readonly checkpoint: FeedCheckpoint;
  /** When the server stored it. */
  readonly stored: Date;
  /** When it came here, by a clock that nobody sets. */
  readonly seen: number;
}

/**
 * The present state of a tenant, kept current from the bucket of the view. It is always that of a
 * whole poll. It survives a lost connection and a view that is made anew: meanwhile it gets old,
 * which {@link freshness} says.
 */
export class View {
  readonly #nc: NatsConnection;
  readonly #options: ViewOptions & { stream: string; staleAfter: number; availabilityStaleAfter: number };
  readonly #prefix: string;
  readonly #closing = new AbortController();
  readonly #ended: Promise<void>;
  readonly #ready: Promise<void>;
  #becomeReady = (): void => {};
  #latest = new Map<string, BpccEvent>();
  #feed: Feed | undefined;
  #failure = "";
  #reading = new AbortController();

  private constructor(nc: NatsConnection, options: ViewOptions) {
    const { staleAfter = defaultStaleAfter, stream = "BPCC_EVENTS" } = options;
    this.#nc = nc;
    this.#options = { availabilityStaleAfter: staleAfter + 10_000, ...options, stream, staleAfter };
    this.#prefix = `${encodeToken(options.tenant)}.`;
    this.#ready = new Promise((resolve) => (this.#becomeReady = resolve));
    void nc.closed().then(() => this.#closing.abort());
    void this.#watchConnection();
    this.#ended = this.#follow();
  }

  /** Opens the view of a tenant. It is empty until it is {@link ready}. */
  static open(nc: NatsConnection, options: ViewOptions): View {
    return new View(nc, options);
  }

  /** Waits until the view has been read. It waits for a view that is not there yet, and ends with {@link close}. */
  async ready(): Promise<void> {
    const { signal } = this.#closing;
    if (!signal.aborted) await Promise.race([this.#ready, new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()))]);
    if (signal.aborted) throw new Error("read view: the view is closed");
  }

  /** Returns the latest event of an entity; undefined if there is none, or if it is gone. */
  get<K extends ViewKind>(kind: K, ...ids: K extends "threshold" ? [rule: string, entity: string] : [id: string]): Latest<K> | undefined {
    const event = this.#latest.get(this.#prefix + [kind, ...ids.map(encodeToken)].join("."));
    return event && isKind(event, kind) ? (event as Latest<K>) : undefined;
  }

  /** Returns the latest events of all entities of a kind, in the order of their keys. */
  list<K extends ViewKind>(kind: K): Latest<K>[] {
    const found = [...this.#latest].filter(([key]) => key.startsWith(`${this.#prefix}${kind}.`));
    return found.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, event]) => event as Latest<K>);
  }

  /** The last checkpoint; undefined if none has been read. */
  get checkpoint(): FeedCheckpoint | undefined {
    return this.#feed?.checkpoint;
  }

  /** Judges how old the view is. */
  freshness(): Freshness {
    const { checkpoint, stored, seen = performance.now() } = this.#feed ?? {};
    const judged = freshness(checkpoint, { staleAfter: this.#options.staleAfter, stored, knownFor: performance.now() - seen });
    return this.#feed || !this.#failure ? judged : { ...judged, reason: `${judged.reason}: ${this.#failure}` };
  }

  /**
   * Answers whether a contact may be sent to a service now. An answer that may be old is no answer,
   * so it is yes only while the feed is fresh.
   *
   * The server fills the view a moment after the stream, and after the loss of a server the view may
   * lag for seconds. So where the view is not fresh, the stream is asked, for which
   * `$JS.API.STREAM.MSG.GET.BPCC_EVENTS` must be permitted.
   */
  async available(service: string): Promise<Answer> {
    const own = this.freshness();
    if (own.fresh) return this.#answer(this.get("availability", service)?.data.available ?? null, own);
    try {
      const { checkpoint, stored, available } = await readAvailability(this.#nc, { ...this.#options, service });
      // "stale" stands in the view alone: the server writes it there when a bridge has died. An
      // older checkpoint of the stream must not overrule it.
      if (this.#feed && stored <= this.#feed.stored) throw new Error("the stream has no newer checkpoint");
      const later = freshness(checkpoint, { staleAfter: this.#options.staleAfter, stored });
      if (!later.fresh) throw new Error("the stream agrees");
      return this.#answer(available, later);
    } catch (err) {
      return { route: false, reason: `${own.reason}, and ${message(err)}`, available: null, freshness: own };
    }
  }

  #answer(available: boolean | null, judged: Freshness): Answer {
    const no = (reason: string) => ({ route: false, reason, available, freshness: judged });
    if (available === null) return no("availability is unknown");
    const limit = this.#options.availabilityStaleAfter;
    if (!(judged.availabilityAge !== null && judged.availabilityAge <= limit)) return no(`availability was not checked for ${limit / 1000} s`);
    return available ? { ...no("an agent is available"), route: true } : no("no agent is available");
  }

  /** Ends the view, and waits until its consumer is deleted. What was read stays. */
  async close(): Promise<void> {
    this.#closing.abort();
    if (!this.#nc.isClosed()) await this.#ended;
  }

  /** Calls the program. What it throws is not caught here: it is not a fault of the view. */
  #notify(changes: readonly Change[]): void {
    try {
      this.#options.onUpdate?.(changes);
    } catch (err) {
      queueMicrotask(() => {
        throw err;
      });
    }
  }

  /** Reads the view anew after a lost connection: the client notices what it missed with the next message only. */
  async #watchConnection(): Promise<void> {
    for await (const { type } of this.#nc.status()) {
      if (this.#closing.signal.aborted) return;
      if (type === "reconnect") this.#reading.abort();
    }
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    for (let wait = 250; !signal.aborted; wait = Math.min(2 * wait, 5_000)) {
      const before = this.#feed;
      try {
        await this.#read();
        if (this.#feed !== before) wait = 125;
      } catch (err) {
        this.#failure = message(err);
      }
      await pause(wait, signal);
    }
  }

  /** Reads the view and its changes, until they may have been missed. */
  async #read(): Promise<void> {
    const { bucket = "bpcc_state", kinds } = this.#options;
    const filters = kinds ? [`${this.#prefix}feed`, ...kinds.map((kind) => `${this.#prefix}${kind}.>`)] : [`${this.#prefix}>`];
    const reading = (this.#reading = new AbortController());
    const stop = () => reading.abort();
    this.#closing.signal.addEventListener("abort", stop);
    let pending = new Map<string, BpccEvent | undefined>();
    let current = false; // all that was there at first has been read
    let anew = true; // nothing of it is in the view yet
    let feed: Feed | undefined;
    let last = performance.now();
    // A live feed has a checkpoint every 30 s. Without one, read the view anew: this reading may be dead.
    const lag = setInterval(() => {
      if (current && performance.now() - last > this.#options.staleAfter && this.checkpoint?.data.status === "live") stop();
    }, 1_000);
    const entry = ({ key, value, removed, stored }: Entry) => {
      last = performance.now();
      const event = removed ? undefined : read(key, value);
      if (key !== `${this.#prefix}feed`) {
        pending.set(key, event);
        return;
      }
      if (event?.type !== "bpcc.feed.checkpoint.v1") feed = undefined;
      else if (event.id !== this.checkpoint?.id || event.data.status !== this.checkpoint.data.status) feed = { checkpoint: event, stored, seen: last };
      else feed = this.#feed;
      if (current) update();
    };
    const update = () => {
      // A poll of several parts is complete with its last one.
      if (feed && feed.checkpoint.data.part !== feed.checkpoint.data.parts) return;
      const keys = anew ? new Set([...this.#latest.keys(), ...pending.keys()]) : pending.keys();
      const changes = [...keys].map((key) => ({ key, before: this.#latest.get(key), after: pending.get(key) }));
      for (const { key, after } of changes) after ? this.#latest.set(key, after) : this.#latest.delete(key);
      pending = new Map();
      anew = false;
      this.#feed = feed;
      const changed = changes.filter(({ before, after }) => before?.id !== after?.id);
      if (changed.length > 0) this.#notify(changed);
      this.#becomeReady();
    };
    try {
      await watch(jetstream(this.#nc, this.#options.jetstream), bucket, filters, reading.signal, entry, () => {
        current = true;
        this.#failure = "";
        update();
      });
    } finally {
      clearInterval(lag);
      this.#closing.signal.removeEventListener("abort", stop);
    }
  }
}

/** The event of a value. A foreign message hides the bridge's event, so that nothing is known any more. */
function read(key: string, value: Uint8Array): BpccEvent | undefined {
  try {
    return parseViewValue(key, value);
  } catch (err) {
    if (err instanceof MessageError) return undefined;
    throw err;
  }
}

function message(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}

/** Waits for milliseconds, or until the signal is aborted. */
function pause(wait: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, wait);
    signal.addEventListener("abort", end);
  });
}
