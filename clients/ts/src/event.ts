import type { BpccEvent } from "./events.js";
import { parseEventId } from "./id.js";
import { mismatch, type Schema } from "./schema.js";
import { dataSchemas } from "./schemas.js";
import { formatSubject, parseEventType, subjectParts, viewKey } from "./subject.js";
import type { Envelope } from "./types.js";

/** Thrown for a message that is no event of the types in this package: one of the two below. */
export abstract class MessageError extends Error {}

/**
 * Thrown for a foreign message: one that the bridge did not write. Any client that may
 * publish on a tenant's subjects can store one. Skip it. The check finds mistakes; it
 * cannot detect a forged event.
 */
export class ForeignMessageError extends MessageError {
  override readonly name = "ForeignMessageError";
}

/**
 * Thrown for an event of a type that this version of the package does not know: a later
 * version of the bridge wrote it. Skip it, or upgrade the package.
 */
export class UnknownTypeError extends MessageError {
  override readonly name = "UnknownTypeError";
  constructor(readonly event: Envelope) {
    super(`parse event: the type ${event.type} is not known`);
  }
}

const envelopeSchema: Schema = {
  type: "object",
  required: ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"],
  properties: {
    specversion: { const: "1.0" },
    id: { type: "string" },
    source: { type: "string" },
    type: { type: "string" },
    subject: { type: "string" },
    time: { type: "string" },
    datacontenttype: { const: "application/json" },
    dataschema: { type: "string" },
    data: {
      type: "object",
      required: ["tenant", "poll"],
      properties: { tenant: { type: "string", minLength: 1 }, poll: { type: "integer", minimum: 1 } },
    },
  },
};

/**
 * Parses the envelope of an event, whether its type is known or not, and checks that it
 * agrees with itself.
 *
 * @throws {ForeignMessageError} The bridge did not write it.
 */
export function parseEnvelope(body: string | Uint8Array): Envelope {
  let value: unknown;
  try {
    value = JSON.parse(typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (err) {
    throw new ForeignMessageError("parse event: it is not JSON", { cause: err });
  }
  const fault = mismatch(envelopeSchema, value, "event");
  if (fault) throw new ForeignMessageError(`parse event: ${fault}`);
  const event = value as Envelope;
  const { kind, verb } = foreignUnless(() => parseEventType(event.type));
  const id = foreignUnless(() => parseEventId(event.id));
  const { tenant, poll } = event.data;
  if (id.tenant !== tenant || id.poll !== poll || ("epoch" in event.data && event.data.epoch !== id.epoch)) {
    throw new ForeignMessageError(`parse event: the id ${event.id} and the data are of different polls`);
  }
  if (event.dataschema !== `urn:bpcc:schema:v1:${kind}.${verb}`) {
    throw new ForeignMessageError(`parse event: the dataschema of ${event.type} is ${event.dataschema}`);
  }
  return event;
}

/** Reports whether this version of the package knows the type of an event. */
export function isKnown(event: Envelope): event is BpccEvent {
  return Object.hasOwn(dataSchemas, event.type);
}

/**
 * Parses an event. What it returns is as its type says, apart from fields that later
 * versions add.
 *
 * @throws {ForeignMessageError} The bridge did not write it.
 * @throws {UnknownTypeError} A later version of the bridge wrote it.
 */
export function parseEvent(body: string | Uint8Array): BpccEvent {
  return known(parseEnvelope(body));
}

function known(event: Envelope): BpccEvent {
  if (!isKnown(event)) throw new UnknownTypeError(event);
  checkData(event);
  return event;
}

/**
 * Checks that the data of an event is as its type says.
 *
 * @throws {ForeignMessageError}
 */
export function checkData(event: BpccEvent): void {
  const fault = mismatch(dataSchemas[event.type], event.data, "data");
  if (fault) throw new ForeignMessageError(`parse event: ${fault}`);
}

/** A message, as the clients of NATS deliver it. */
export interface Message {
  readonly subject: string;
  readonly data: string | Uint8Array;
  readonly headers?: { get(name: string): string } | undefined;
}

/**
 * Parses a message of the stream, and checks that its subject and its `Nats-Msg-Id` are
 * those of the event.
 *
 * @throws {ForeignMessageError} The bridge did not write it.
 * @throws {UnknownTypeError} A later version of the bridge wrote it.
 */
export function parseMessage({ subject, data, headers }: Message): BpccEvent {
  const envelope = parseEnvelope(data);
  const id = headers?.get("Nats-Msg-Id") ?? "";
  if (id !== envelope.id) throw new ForeignMessageError(`parse message: the Nats-Msg-Id is ${JSON.stringify(id)}, the id ${envelope.id}`);
  const event = known(envelope);
  const want = formatSubject(subjectParts(event));
  if (subject !== want) throw new ForeignMessageError(`parse message: it stands on ${subject}, its content belongs on ${want}`);
  return event;
}

/**
 * Parses the value of a key of the view, and checks that it belongs there.
 *
 * @throws {ForeignMessageError} The bridge did not write it.
 * @throws {UnknownTypeError} A later version of the bridge wrote it.
 */
export function parseViewValue(key: string, value: string | Uint8Array): BpccEvent {
  const event = parseEvent(value);
  const want = viewKey(subjectParts(event));
  if (key !== want) throw new ForeignMessageError(`parse view value: it stands under ${key}, its content belongs ${want === undefined ? "in no key" : `under ${want}`}`);
  return event;
}

function foreignUnless<T>(parse: () => T): T {
  try {
    return parse();
  } catch (err) {
    throw new ForeignMessageError(err instanceof Error ? err.message : String(err), { cause: err });
  }
}
