import type { NatsConnection } from "@nats-io/nats-core";
import { mismatch, type Schema } from "../schema.js";
import { encodeToken } from "../token.js";

/** The answer of the bridge itself. */
export interface AskedAnswer {
  /** Reports whether a contact may be sent to the service now. */
  readonly route: boolean;
  /** Why, or why not, for people to read. */
  readonly reason: string;
  /** Whether an agent is available; null if it is not known. */
  readonly available: boolean | null;
  /** How old the last check is, in milliseconds; null if there is none. */
  readonly age: number | null;
}

const replySchema: Schema = {
  type: "object",
  required: ["tenant", "service", "available", "fresh", "age", "max_age"],
  properties: {
    tenant: { type: "string" },
    service: { type: "string" },
    available: { type: ["boolean", "null"] },
    fresh: { type: "boolean" },
    age: { type: ["number", "null"] },
    max_age: { type: "number" },
  },
};

interface Reply {
  tenant: string;
  service: string;
  available: boolean | null;
  fresh: boolean;
  /** Seconds. */
  age: number | null;
  /** Seconds. */
  max_age: number;
}

/**
 * Asks the leading bridge of a tenant whether a contact may be sent to a service now. Every failure is
 * an answer, too: without a reply that is fresh, it may not.
 *
 * @param timeout In milliseconds.
 */
export async function askAvailability(nc: NatsConnection, tenant: string, service: string, { timeout = 1_000 } = {}): Promise<AskedAnswer> {
  const no = (reason: string, available: boolean | null = null, age: number | null = null) => ({ route: false, reason, available, age });
  const subject = `bpcc.svc.${encodeToken(tenant)}.availability`;
  const sent = performance.now();
  try {
    const message = await nc.request(subject, JSON.stringify({ service }), { timeout });
    const failed = message.headers?.get("Nats-Service-Error");
    if (failed) return no(`the bridge answers: ${failed}`);
    const reply = message.json<Reply>();
    const fault = mismatch(replySchema, reply, "reply");
    if (fault ?? (reply.tenant !== tenant || reply.service !== service)) return no(`the reply is not that of the bridge${fault ? `: ${fault}` : ""}`);
    // The reply was made after the request was sent, so it is no older than this.
    const age = reply.age && reply.age * 1_000 + (performance.now() - sent);
    if (reply.available === null) return no("availability is unknown", null, age);
    if (!reply.fresh || age === null || age > reply.max_age * 1_000) return no(`availability was not checked for ${reply.max_age} s`, reply.available, age);
    return reply.available ? { ...no("an agent is available", true, age), route: true } : no("no agent is available", false, age);
  } catch (err) {
    return no(isNoResponders(err) ? "no bridge leads the tenant" : err instanceof Error ? err.message : String(err));
  }
}

/** Reports it by name, since a program may have several copies of the client. */
function isNoResponders(err: unknown): boolean {
  return err instanceof Error && (err.name === "NoResponders" || isNoResponders(err.cause));
}
