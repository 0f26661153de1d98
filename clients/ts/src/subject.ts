import type { BpccEvent } from "./events.js";
import { decodeToken, encodeToken } from "./token.js";
import { type EventType, isKind, type Kind } from "./types.js";

/** What the subject of an event says: `bpcc.v1.<tenant>.<kind>.<id…>.<verb>`. */
export interface SubjectParts {
  readonly tenant: string;
  /** What the event is about, such as `agent`. */
  readonly kind: string;
  /** The ids of the entity, not their tokens: none, one, or for a threshold rule and entity. */
  readonly ids: readonly string[];
  /** What happened, such as `state_changed`. */
  readonly verb: string;
}

/** Thrown for a subject, a view key or a type that is none of the bridge's. */
export class SubjectError extends Error {
  override readonly name = "SubjectError";
}

const prefix = "bpcc.v1";
const word = /^[a-z][a-z_]*$/;

/** How many ids stand in the subjects of a kind. */
const idCount: Readonly<Record<Kind, number>> = {
  agent: 1, service: 1, availability: 1, totals: 1, threshold: 2, directory: 1, chat: 0, feed: 0,
};

/**
 * Parses the subject of an event.
 *
 * @throws {SubjectError} It is not the subject of an event.
 */
export function parseSubject(subject: string): SubjectParts {
  const [root, version, tenant, kind, ...rest] = subject.split(".");
  const verb = rest.pop();
  if (`${root}.${version}` !== prefix || tenant === undefined || kind === undefined || verb === undefined || !word.test(kind) || !word.test(verb)) {
    throw new SubjectError(`parse subject: ${JSON.stringify(subject)} is not ${prefix}.<tenant>.<kind>.<id…>.<verb>`);
  }
  return { tenant: decode(tenant, subject), kind, ids: rest.map((token) => decode(token, subject)), verb };
}

/** Formats a subject: the reverse of {@link parseSubject}. */
export function formatSubject({ tenant, kind, ids, verb }: SubjectParts): string {
  return [prefix, encodeToken(tenant), kind, ...ids.map(encodeToken), verb].join(".");
}

/**
 * Returns the key of the view that holds the latest event with this subject;
 * undefined for events that are not in the view.
 */
export function viewKey({ tenant, kind, ids, verb }: SubjectParts): string | undefined {
  if (kind === "feed" && verb === "checkpoint") return `${encodeToken(tenant)}.feed`;
  return ids.length > 0 ? [tenant, kind, ...ids].map(encodeToken).join(".") : undefined;
}

/**
 * Parses a key of the view, `<tenant>.<kind>.<id…>`. A key has no verb: it holds the
 * latest event of its entity, whatever happened.
 *
 * @throws {SubjectError} It is not a key of the view.
 */
export function parseViewKey(key: string): Omit<SubjectParts, "verb"> {
  const [tenant, kind, ...ids] = key.split(".");
  if (tenant === undefined || kind === undefined || !word.test(kind)) {
    throw new SubjectError(`parse view key: ${JSON.stringify(key)} is not <tenant>.<kind>.<id…>`);
  }
  return { tenant: decode(tenant, key), kind, ids: ids.map((token) => decode(token, key)) };
}

/** Returns the CloudEvents type of the events with a kind and a verb. */
export function eventType({ kind, verb }: Pick<SubjectParts, "kind" | "verb">): string {
  return `bpcc.${kind}.${verb}.v1`;
}

/**
 * Parses the CloudEvents type of an event.
 *
 * @throws {SubjectError} It is not a type of the bridge, version 1.
 */
export function parseEventType(type: string): Pick<SubjectParts, "kind" | "verb"> {
  const [, kind, verb] = /^bpcc\.([a-z][a-z_]*)\.([a-z][a-z_]*)\.v1$/.exec(type) ?? [];
  if (kind === undefined || verb === undefined) throw new SubjectError(`parse event type: ${JSON.stringify(type)} is not bpcc.<kind>.<verb>.v1`);
  return { kind, verb };
}

/**
 * Returns the filter for all events of a type, with `*` for each id:
 * `bpcc.v1.acme.agent.*.state_changed`. Without a tenant it is for those of all tenants.
 */
export function subjectFilter(tenant: string | undefined, type: EventType): string {
  const { kind, verb } = parseEventType(type);
  return [prefix, tenant === undefined ? "*" : encodeToken(tenant), kind, ...Array<string>(idCount[kind as Kind]).fill("*"), verb].join(".");
}

/** Returns what the subject of an event says, from its content. */
export function subjectParts(event: BpccEvent): SubjectParts {
  return { tenant: event.data.tenant, ...parseEventType(event.type), ids: entityIds(event) };
}

function entityIds(event: BpccEvent): string[] {
  if (isKind(event, "agent")) return [event.data.agent.id];
  if (isKind(event, "service") || isKind(event, "availability")) return [event.data.service];
  if (isKind(event, "totals")) return [event.data.app];
  if (isKind(event, "threshold")) return [event.data.rule, event.data.entity.id];
  if (isKind(event, "directory")) return [event.data.kind];
  return []; // chat and feed
}

function decode(token: string, text: string): string {
  try {
    return decodeToken(token);
  } catch (err) {
    throw new SubjectError(`parse ${JSON.stringify(text)}: ${(err as Error).message}`, { cause: err });
  }
}
