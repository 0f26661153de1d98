import type { FeedCheckpoint, FeedStatus } from "./events.js";

/** Whether what is known of a tenant can still be acted on. */
export interface Freshness {
  /** Reports whether it can: the feed is live, and its last checkpoint is not too old. */
  readonly fresh: boolean;
  /** That of the last checkpoint; `unknown` if none has been seen. */
  readonly status: FeedStatus | "unknown";
  /** Why it is not fresh, for people to read; "" if it is. */
  readonly reason: string;
  /** All changes before this instant are published. Null if nothing was seen yet. */
  readonly observedUntil: Date | null;
  /** Milliseconds since {@link observedUntil}. */
  readonly age: number | null;
  /** All availabilities that are true or false are checked up to this instant. Null if none is. */
  readonly availabilityUntil: Date | null;
  /** Milliseconds since {@link availabilityUntil}. */
  readonly availabilityAge: number | null;
}

export interface FreshnessOptions {
  /** The present time, in milliseconds since 1970. Default: that of this machine. */
  now?: number;
  /**
   * The age in milliseconds from which a live feed counts as stale. Default: 35,000. A feed
   * without changes has a checkpoint every 30 s (`BRIDGE_CHECKPOINT_INTERVAL`), so a lower limit
   * refuses a healthy one.
   */
  staleAfter?: number;
  /** When the server stored the checkpoint. What a bridge whose clock is ahead observed is no younger. */
  stored?: Date | undefined;
  /**
   * For how many milliseconds the checkpoint has been known, by a clock that nobody sets. The
   * age is never less. Default: 0.
   */
  knownFor?: number;
}

/** The default of {@link FreshnessOptions.staleAfter}. */
export const defaultStaleAfter = 35_000;

/**
 * Judges a tenant's last checkpoint: the value of the key `<tenant>.feed` in the view, or the
 * last event on `bpcc.v1.<tenant>.feed.checkpoint`. The clocks of this machine and of the bridge
 * must agree to much less than the limit.
 */
export function freshness(checkpoint: FeedCheckpoint | undefined, options: FreshnessOptions = {}): Freshness {
  const { now = Date.now(), staleAfter = defaultStaleAfter, stored, knownFor = 0 } = options;
  const status = checkpoint?.data.status ?? "unknown";
  const observedUntil = instant(checkpoint?.data.observed_until);
  const availabilityUntil = instant(checkpoint?.data.availability_until);
  const byClock = (at: Date | null) => at && now - (stored && stored < at ? stored : at).getTime();
  const since = (at: Date | null) => at && Math.max(byClock(at)!, knownFor);
  const age = since(observedUntil);
  const reason = staleReason(status, byClock(observedUntil), age, staleAfter);
  return { fresh: reason === "", status, reason, observedUntil, age, availabilityUntil, availabilityAge: since(availabilityUntil) };
}

function staleReason(status: Freshness["status"], byClock: number | null, age: number | null, staleAfter: number): string {
  if (status === "unknown") return "the feed has not been seen";
  if (status !== "live") return `the feed is ${status}`;
  if (byClock === null || age === null) return "the feed has observed nothing yet";
  if (byClock < -staleAfter) return "the feed is ahead of this machine's clock";
  // Written so that an age that is no number is too old.
  return age <= staleAfter ? "" : `the feed is older than ${staleAfter / 1000} s`;
}

function instant(text: string | null | undefined): Date | null {
  return text === null || text === undefined ? null : new Date(text);
}
