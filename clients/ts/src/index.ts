/** Events of bpcc-bridge: their types, their names, and what can be told from them. Nothing here needs a connection. */
export type * from "./events.js";
export { check, Check, type CheckOptions, type Finding, isFault } from "./check.js";
export { ForeignMessageError, isKnown, type Message, MessageError, parseEnvelope, parseEvent, parseMessage, parseViewValue, UnknownTypeError } from "./event.js";
export { type Freshness, freshness, type FreshnessOptions } from "./freshness.js";
export { compareEventIds, type EventId, EventIdError, formatEventId, parseEventId } from "./id.js";
export { eventType, formatSubject, parseEventType, parseSubject, parseViewKey, SubjectError, subjectFilter, type SubjectParts, subjectParts, viewKey } from "./subject.js";
export { decodeToken, encodeToken, TokenError } from "./token.js";
export { type Envelope, type EventOf, type EventOfKind, type EventType, isKind, type Kind } from "./types.js";
