// What all three examples know of the bridge's events.

/** A CloudEvent of the bridge. The schemas of its data are in schemas/v1. */
export interface Event<Data = Record<string, unknown>> {
  id: string;
  type: string;
  subject: string;
  time: string;
  data: Data & { tenant: string; poll: number };
}

/** All changes up to observed_until are published; null: nothing was seen yet. */
export interface Checkpoint {
  status: "live" | "interrupted" | "stopped" | "stale" | (string & {});
  epoch: number;
  part: number;
  parts: number;
  events: number;
  observed_until: string | null;
}

export interface Availability {
  service: string;
  available: boolean | null;
  /** Why it is not known, in one word; only where it is null. */
  reason?: string;
}

export interface StateChanged {
  revision: number;
  /** When it happened: after the one, by the other; it is not known more exactly. */
  observed: { after: string | null; by: string };
  agent: { id: string; name?: string };
  from: { state: string; reason?: string };
  to: { state: string; reason?: string };
}

/**
 * A name as it stands in subjects and keys: bytes other than A-Za-z0-9_- become
 * =XX, so that "Voice Inbound" is Voice=20Inbound.
 */
export function token(name: string): string {
  return [...Buffer.from(name)]
    .map((byte) => String.fromCharCode(byte))
    .map((c) => (/[A-Za-z0-9_-]/.test(c) ? c : `=${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`))
    .join("");
}
