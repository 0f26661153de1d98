import type { BpccEvent } from "./events.js";

/** The CloudEvents type of an event, such as `bpcc.agent.state_changed.v1`. */
export type EventType = BpccEvent["type"];

/** The event of a type, such as `EventOf<"bpcc.agent.state_changed.v1">`. */
export type EventOf<T extends EventType> = Extract<BpccEvent, { type: T }>;

/** What every event has, also one of a type that a later version of the bridge adds. */
export interface Envelope {
  specversion: "1.0";
  id: string;
  source: string;
  type: string;
  subject: string;
  time: string;
  datacontenttype: "application/json";
  dataschema: string;
  data: { tenant: string; poll: number };
}

/** What an event is about, such as `agent`. */
export type Kind = BpccEvent["type"] extends infer T ? (T extends `bpcc.${infer K}.${string}.v1` ? K : never) : never;

/** The events of a kind. */
export type EventOfKind<K extends Kind> = Extract<BpccEvent, { type: `bpcc.${K}.${string}` }>;

/** Reports whether an event is of a kind, and narrows its type to that. */
export function isKind<K extends Kind>(event: BpccEvent, kind: K): event is EventOfKind<K> {
  return event.type.startsWith(`bpcc.${kind}.`);
}
