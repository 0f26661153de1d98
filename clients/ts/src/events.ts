// Generated from schemas/v1 by npm run generate. Do not edit it here.

/**
 * Any event, by its type. An event of a type that is not here is invalid; a reader of the stream must ignore it.
 */
export type BpccEvent =
  | AgentAppeared
  | AgentDisappeared
  | AgentObserved
  | AgentStateChanged
  | AgentStatsChanged
  | AvailabilityChanged
  | AvailabilityObserved
  | ChatMessagePosted
  | DirectoryChanged
  | FeedCheckpoint
  | FeedErased
  | FeedInterrupted
  | FeedResumed
  | FeedStarted
  | FeedStopped
  | ServiceAppeared
  | ServiceDisappeared
  | ServiceObserved
  | ServiceStatsChanged
  | ThresholdCleared
  | ThresholdRaised
  | TotalsObserved
  | TotalsStatsChanged;
/**
 * Which list it is; the kind token of the NATS subject.
 */
export type DirectoryKind = "teams" | "services" | "agents" | "dispositions";
/**
 * live: polls of BPCC succeed. interrupted: they fail at present. stopped: the bridge was shut down. stale: the bridge has not postponed its watchdog and may be dead; the NATS server writes this status, and only into the view.
 */
export type FeedStatus = "live" | "interrupted" | "stopped" | "stale";
/**
 * Severity that the rule gives.
 */
export type Severity = "info" | "warning" | "critical";
/**
 * Kind of entity.
 */
export type EntityKind = "agent" | "service" | "totals";

/**
 * Published when an agent's row appears in the grid.
 */
export interface AgentAppeared {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.agent.appeared.v1";
  /**
   * "agent/" and the agent's id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:agent.appeared";
  data: AgentAppearedData;
}
/**
 * The agent as it appeared: `to` is its state, `after` its complete image.
 */
export interface AgentAppearedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the agent: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  /**
   * Number of the agent's state: 1 is the first one. agent.state_changed alone raises it by one; all other events carry the present number. A missing number is a missed agent.state_changed. It starts again at 1 where `revision` does, and after a change of state that an early build published, whose events lack the field.
   */
  state_revision?: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  agent: AgentRef;
  to: AgentState;
  /**
   * When the present state began: the time of the response minus state_duration, in whole seconds, correct to about one second. Absent where state_duration is not subscribed, or where the instant is not within observed, 2 s allowed: such a clock is wrong.
   */
  since?: string;
  after: AgentImage;
}
/**
 * Window of a change: it happened after `after` and by `by`. Nothing narrower is known.
 */
export interface ObservedWindow {
  /**
   * The change happened after this instant, when the last good request before was sent. Null if there was none, and in events that state how an entity is.
   */
  after: string | null;
  /**
   * The response that shows it had been received at this instant.
   */
  by: string;
}
/**
 * The agent.
 */
export interface AgentRef {
  /**
   * Key of the agent at this bridge, by default the login id; the agent token of the NATS subject, decoded.
   */
  id: string;
  /**
   * Username in BPCC.
   */
  login_id?: string;
  /**
   * GUID of the user in BPCC.
   */
  user_id?: string;
  /**
   * Display name; not unique.
   */
  name?: string;
  /**
   * Name of the agent's team.
   */
  team?: string;
}
/**
 * What an agent is doing. Empty fields are omitted.
 */
export interface AgentState {
  /**
   * ready, not_ready, busy, after_call_work, logged_out (where BPCC sends no state) or another value: the set is open. Absent where not known.
   */
  state?: "ready" | "not_ready" | "busy" | "after_call_work" | "logged_out" | (string & {});
  /**
   * State the agent enters after the present work; same values.
   */
  next_state?: string;
  /**
   * Reason for not_ready, a label the tenant chose.
   */
  reason?: string;
}
/**
 * Complete image: the name of each subscribed statistic and its value, the exact text that BPCC sent. "" is no value, never 0. AgentStatistics describes the usual ones.
 */
export interface AgentImage {
  /**
   * Username of the agent.
   */
  login_id?: string;
  /**
   * GUID of the user.
   */
  user_id?: string;
  /**
   * First name.
   */
  firstname?: string;
  /**
   * Last name.
   */
  lastname?: string;
  /**
   * Display name, first name first; not unique.
   */
  first_last_name?: string;
  /**
   * Display name, last name first; not unique.
   */
  last_first_name?: string;
  /**
   * GUID of the agent's team.
   */
  team_id?: string;
  /**
   * Name of the agent's team.
   */
  team_name?: string;
  /**
   * Whether the user is an agent, and not for example only a supervisor; in BPCC's spelling.
   */
  is_agent?: string;
  /**
   * Phone extension; text, not a number.
   */
  extension?: string;
  /**
   * State: ready, not_ready, busy, after_call_work or another value; empty when logged out.
   */
  acd_state?: string;
  /**
   * State the agent enters after the present work; empty when there is none.
   */
  acd_next_state?: string;
  /**
   * Reason for not_ready, a label the tenant chose; empty when there is none.
   */
  reason?: string;
  /**
   * Time in the present state, seconds; grows every second.
   */
  state_duration?: string;
  /**
   * Total time logged in, seconds.
   */
  login_time?: string;
  /**
   * Talk time of the active interaction, seconds; grows every second.
   */
  active_item_talk_duration?: string;
  /**
   * Hold time of the active interaction, seconds.
   */
  active_item_hold_duration?: string;
  /**
   * Media type of the active interaction.
   */
  active_item_media_type?: string;
  /**
   * Inbound interactions handled since the daily reset, count.
   */
  in_calls_handled_per_day?: string;
  /**
   * Outbound interactions handled since the daily reset, count.
   */
  out_calls_handled_per_day?: string;
  /**
   * Average handling time since the daily reset, seconds.
   */
  calls_average_handling_time_per_day?: string;
  /**
   * Interactions that got one of the subscribed dispositions since the daily reset, count.
   */
  calls_dispositions_per_day?: string;
  /**
   * Time in ready since the daily reset, seconds.
   */
  agent_total_ready_time?: string;
  /**
   * Time in busy since the daily reset, seconds.
   */
  agent_total_busy_time?: string;
  /**
   * Time in after_call_work since the daily reset, seconds.
   */
  agent_total_ACW_time?: string;
  /**
   * Time on break since the daily reset, seconds.
   */
  agent_total_break_time?: string;
  [k: string]: string | undefined;
}
/**
 * Published when an agent's row is missing from several complete snapshots in a row. The key is deleted from the view.
 */
export interface AgentDisappeared {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.agent.disappeared.v1";
  /**
   * "agent/" and the agent's id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:agent.disappeared";
  data: AgentDisappearedData;
}
/**
 * The agent as last observed: `from` was its state, `before` its complete image.
 */
export interface AgentDisappearedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the agent: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  /**
   * Number of the agent's state: 1 is the first one. agent.state_changed alone raises it by one; all other events carry the present number. A missing number is a missed agent.state_changed. It starts again at 1 where `revision` does, and after a change of state that an early build published, whose events lack the field.
   */
  state_revision?: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  agent: AgentRef;
  from: AgentState;
  before: AgentImage;
}
/**
 * Published for each agent in the very first snapshot, and again when the view had lost it: a state, not a change. With a revision above 1 it states what is published already, of an entity that is present.
 */
export interface AgentObserved {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.agent.observed.v1";
  /**
   * "agent/" and the agent's id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:agent.observed";
  data: AgentObservedData;
}
/**
 * The agent as first observed: `to` is its state, `after` its complete image. That is a state, not a change, so `observed.after` is null.
 */
export interface AgentObservedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the agent: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  /**
   * Number of the agent's state: 1 is the first one. agent.state_changed alone raises it by one; all other events carry the present number. A missing number is a missed agent.state_changed. It starts again at 1 where `revision` does, and after a change of state that an early build published, whose events lack the field.
   */
  state_revision?: number;
  observed: ObservedWindow;
  agent: AgentRef;
  to: AgentState;
  /**
   * When the present state began: the time of the response minus state_duration, in whole seconds, correct to about one second. Absent where state_duration is not subscribed, or where the instant is not within observed, 2 s allowed: such a clock is wrong.
   */
  since?: string;
  after: AgentImage;
}
/**
 * Published when an agent's state, next state or reason changed, login and logout included, or when the agent left the state and returned to it between two polls.
 */
export interface AgentStateChanged {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.agent.state_changed.v1";
  /**
   * "agent/" and the agent's id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:agent.state_changed";
  data: AgentStateChangedData;
}
/**
 * The change: `from` and `to` are the states, `before` and `after` the complete images before and after it.
 */
export interface AgentStateChangedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the agent: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  /**
   * Number of the agent's state: 1 is the first one. agent.state_changed alone raises it by one; all other events carry the present number. A missing number is a missed agent.state_changed. It starts again at 1 where `revision` does, and after a change of state that an early build published, whose events lack the field.
   */
  state_revision?: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  agent: AgentRef;
  from: AgentState;
  to: AgentState;
  /**
   * When the present state began: the time of the response minus state_duration, in whole seconds, correct to about one second. Absent where state_duration is not subscribed, or where the instant is not within observed, 2 s allowed: such a clock is wrong.
   */
  since?: string;
  previous_duration?: DurationRange;
  /**
   * True where the agent left the state and returned to it between two polls: state_duration started again. Absent or false otherwise.
   */
  reentered?: boolean;
  /**
   * Names of the state's statistics that differ between before and after. Empty only where reentered is true.
   */
  changed: string[];
  before: AgentImage;
  after: AgentImage;
  /**
   * Names of the daily counters that the tenant's daily reset restarted: they fell to no value, to 0, or below half of what they were. Do not compute a difference from these. A smaller fall is a correction and is not named.
   */
  reset?: string[];
}
/**
 * Bounds of how long `from` lasted, absent where its beginning is not known. `min` is from the end of the window in which `from` began to `observed.after`, but not less than 0; `max` is from the beginning of that window to `observed.by`. The window is `observed` of the change that began `from`. The first state in which an agent was seen began within 2 s of `since` there; with a next state or a reason, which may be younger, it began by `observed.by`. After a gap the window ends no earlier than `observed.by` of the last feed.resumed before the poll: the agent may have left the state and returned.
 */
export interface DurationRange {
  /**
   * It lasted at least so long, seconds.
   */
  min: number;
  /**
   * It lasted at most so long, seconds.
   */
  max: number;
}
/**
 * Published when a tracked statistic of an agent other than its state changed.
 */
export interface AgentStatsChanged {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.agent.stats_changed.v1";
  /**
   * "agent/" and the agent's id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:agent.stats_changed";
  data: AgentStatsChangedData;
}
/**
 * The change: `before` and `after` are the complete images before and after it.
 */
export interface AgentStatsChangedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the agent: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  /**
   * Number of the agent's state: 1 is the first one. agent.state_changed alone raises it by one; all other events carry the present number. A missing number is a missed agent.state_changed. It starts again at 1 where `revision` does, and after a change of state that an early build published, whose events lack the field.
   */
  state_revision?: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  agent: AgentRef;
  /**
   * Names of the statistics that differ between before and after; volatile ones such as state_duration are not listed.
   */
  changed: string[];
  before: AgentImage;
  after: AgentImage;
  /**
   * Names of the daily counters that the tenant's daily reset restarted: they fell to no value, to 0, or below half of what they were. Do not compute a difference from these. A smaller fall is a correction and is not named.
   */
  reset?: string[];
}
/**
 * Published when the answer to "is an agent available for this service" changed.
 */
export interface AvailabilityChanged {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.availability.changed.v1";
  /**
   * "availability/" and the service's name.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, or found that the last good check is too old, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:availability.changed";
  data: AvailabilityChangedData;
}
/**
 * The change. `observed` begins when the last good check before was sent. Where `available` is null, `observed.by` is the time of the batch that says so.
 */
export interface AvailabilityChangedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the service's availability: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  /**
   * Name of the service; the service token of the NATS subject, decoded.
   */
  service: string;
  /**
   * Whether an agent is available for the service. Null: not known, because the last good check is too old (by default three intervals of the checks, at least five seconds) or the service is not checked any more. `reason` says why.
   */
  available: boolean | null;
  /**
   * Why the availability is not known, in one word. Present only where `available` is null. timeout: the checks are not answered in time. refused: BPCC answers 401 or 403. throttled: BPCC limits the rate of requests. unavailable: no connection, or a server error. malformed: an answer that is not what the API documents. unexpected: an answer with another status. not_checked: no check has ended since the last good one. service_removed: the tenant does not list the service any more. not_configured: the configuration does not name it any more. More words may be added.
   */
  reason?:
    | "timeout"
    | "refused"
    | "throttled"
    | "unavailable"
    | "malformed"
    | "unexpected"
    | "not_checked"
    | "service_removed"
    | "not_configured"
    | (string & {});
  /**
   * The answer before the change; null: not known.
   */
  previous: boolean | null;
}
/**
 * Published for a service's first availability: a state, not a change.
 */
export interface AvailabilityObserved {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.availability.observed.v1";
  /**
   * "availability/" and the service's name.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:availability.observed";
  data: AvailabilityObservedData;
}
/**
 * Availability as first observed. That is a state, not a change, so `observed.after` is null.
 */
export interface AvailabilityObservedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the service's availability: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * Name of the service; the service token of the NATS subject, decoded.
   */
  service: string;
  /**
   * Whether an agent is available for the service. Null: not known, because the last good check is too old (by default three intervals of the checks, at least five seconds) or the service is not checked any more. `reason` says why.
   */
  available: boolean | null;
  /**
   * Why the availability is not known, in one word. Present only where `available` is null. timeout: the checks are not answered in time. refused: BPCC answers 401 or 403. throttled: BPCC limits the rate of requests. unavailable: no connection, or a server error. malformed: an answer that is not what the API documents. unexpected: an answer with another status. not_checked: no check has ended since the last good one. service_removed: the tenant does not list the service any more. not_configured: the configuration does not name it any more. More words may be added.
   */
  reason?:
    | "timeout"
    | "refused"
    | "throttled"
    | "unavailable"
    | "malformed"
    | "unexpected"
    | "not_checked"
    | "service_removed"
    | "not_configured"
    | (string & {});
}
/**
 * Published when a message of the internal chat is observed for the first time, identified by its id; only where chat messages are subscribed. All of it is personal data: what a named person wrote. It stays as long as the stream keeps it.
 */
export interface ChatMessagePosted {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.chat.message_posted.v1";
  /**
   * "chat/" and the message's id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:chat.message_posted";
  data: ChatMessagePostedData;
}
/**
 * The message, and when it became visible: after `observed.after` and by `observed.by`. The time that BPCC gives is `send_time`.
 */
export interface ChatMessagePostedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  observed: ObservedWindow;
  /**
   * True where it was first observed after a gap, such as an outage or a restart. Messages that appeared and were removed within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  /**
   * App id of the subscription that delivered the message.
   */
  app: string;
  message: ChatMessage;
}
/**
 * The message. Fields that BPCC does not send, or that the configuration redacts, are absent.
 */
export interface ChatMessage {
  /**
   * Id of the message in BPCC.
   */
  id: string;
  /**
   * Username of the sender.
   */
  login_id?: string;
  /**
   * First name of the sender.
   */
  first_name?: string;
  /**
   * Last name of the sender.
   */
  last_name?: string;
  /**
   * When it was sent: the exact text that BPCC sent, documented as a UTC timestamp of unknown format. Opaque; do not compute with it.
   */
  send_time?: string;
  /**
   * Whether the sender marked it urgent.
   */
  urgent?: boolean;
  /**
   * The text that a person wrote. Treat it as personal data, and escape it before you show it.
   */
  content?: string;
}
/**
 * Published when an entry was added to, removed from or renamed in one of BPCC's lists of teams, services, agents or dispositions. With baseline true it holds the complete list: when the list is first observed, and repeatedly after that, so that a replay always has one to start from. Agents are people: their ids and login ids are personal data.
 */
export interface DirectoryChanged {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.directory.changed.v1";
  /**
   * "directory/" and the kind.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:directory.changed";
  data: DirectoryChangedData;
}
/**
 * The change, or the complete list. `observed` begins when the list was last requested. A baseline is a state, not a change, so its `observed.after` is null.
 */
export interface DirectoryChangedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  kind: DirectoryKind;
  /**
   * True where this is the complete present list, in `added`, and not a change. Absent otherwise.
   */
  baseline?: true;
  /**
   * Number of this part of a baseline that is too long for one event, counted from 1. All its parts belong to one poll. Absent where one event holds the list.
   */
  part?: number;
  /**
   * How many parts the baseline has. The list is complete when you have all of them. Absent where one event holds the list.
   */
  parts?: number;
  /**
   * New entries; in a baseline, all entries. May be empty.
   */
  added: DirectoryEntry[];
  /**
   * Removed entries. May be empty; always empty in a baseline.
   */
  removed: DirectoryEntry[];
  /**
   * Entries with the same id and another name. May be empty; always empty in a baseline, and for dispositions, where another name is another entry.
   */
  renamed: DirectoryRename[];
}
/**
 * One entry.
 */
export interface DirectoryEntry {
  /**
   * GUID of the entry in BPCC. A disposition has none; its name stands here.
   */
  id: string;
  /**
   * Name of the entry; of an agent, the login id.
   */
  name: string;
}
/**
 * One entry.
 */
export interface DirectoryRename {
  /**
   * GUID of the entry in BPCC.
   */
  id: string;
  /**
   * Name before; of an agent, the login id.
   */
  from: string;
  /**
   * Name now; of an agent, the login id.
   */
  to: string;
}
/**
 * Published as the last message of every batch, and alone at least once per checkpoint interval. It is a watermark.
 */
export interface FeedCheckpoint {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.feed.checkpoint.v1";
  /**
   * Always "feed".
   */
  subject: "feed";
  /**
   * When the bridge made it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:feed.checkpoint";
  data: FeedCheckpointData;
}
/**
 * Until when the stream is complete, and how fresh it is.
 */
export interface FeedCheckpointData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  status: FeedStatus;
  /**
   * Number of the term; it rises by one at every start and takeover.
   */
  epoch: number;
  /**
   * Number of the part of this poll that the checkpoint closes, counted from 1.
   */
  part: number;
  /**
   * How many parts this poll has. The poll is complete where part equals parts.
   */
  parts: number;
  /**
   * How many events this part holds, without the checkpoint.
   */
  events: number;
  /**
   * All observed changes before this instant are in the stream. Null before the first snapshot.
   */
  observed_until: string | null;
  /**
   * When the first of the missing rows was last observed. Present while a row is missing whose departure is not confirmed: it is absent for the first time, its grid is suddenly empty, many rows are missing at once, or its grid is as long as its limit and hides it. Present too while totals are missing. What happened to those entities since then is not in the stream, although observed_until may be later.
   */
  missing_since?: string;
  /**
   * All availabilities that are published as true or false are checked up to this instant: all their observed changes before it are in the stream. It is the time of the oldest last good check of a service, so one check that is late holds it back until the service is published as unknown. It can fall when a service becomes known. Absent while no availability is known.
   */
  availability_until?: string;
  /**
   * How many agents are present.
   */
  agents: number;
  /**
   * How many services are present.
   */
  services: number;
  /**
   * Name of the bridge instance that wrote it.
   */
  instance: string;
  /**
   * Kinds of entity whose first images have been published: agent, service, totals, availability. More kinds may be added.
   */
  observing: string[];
  /**
   * Id of the tenant's checkpoint before this one. The checkpoints alone prove that no batch is missing. Absent in the very first.
   */
  follows?: string;
  /**
   * SHA-256 over the message of the checkpoint before and over the messages of this batch, so that it stands for the whole stream before it. docs/evidence.md defines the bytes. Absent in what early versions published.
   */
  chain?: string;
  /**
   * By how many seconds the clock of the bridge's machine was set since the checkpoint before, in the same term; negative if it was set back. A time for which the machine was suspended counts, too. Times before and after it cannot be compared. Absent where the clock was not set, and in what early versions published.
   */
  clock_set?: number;
}
/**
 * Published when a person was erased by request: the messages that it states have left the stream, or are about to. It does not say who it was.
 */
export interface FeedErased {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.feed.erased.v1";
  /**
   * Always "feed".
   */
  subject: "feed";
  /**
   * When the bridge made it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:feed.erased";
  data: FeedErasedData;
}
/**
 * What was erased. A large erasure takes several events.
 */
export interface FeedErasedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of the term; it rises by one at every start and takeover.
   */
  epoch: number;
  /**
   * Name of the instance that erased.
   */
  instance: string;
  /**
   * Why, in the words of who erased. Absent if no reason was given.
   */
  reason?: string;
  /**
   * How many messages of the stream the event states: those of its sequences.
   */
  messages: number;
  /**
   * How many keys of the view were purged.
   */
  keys: number;
  /**
   * The sequences that the messages had in the stream, in order. No others may be missing.
   */
  sequences: SequenceRange[];
}
/**
 * Successive messages.
 */
export interface SequenceRange {
  /**
   * Sequence of the first message.
   */
  first: number;
  /**
   * Sequence of the last message, which may be the same.
   */
  last: number;
}
/**
 * Published when no poll of BPCC has succeeded for several intervals. Until feed.resumed the last state is out of date.
 */
export interface FeedInterrupted {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.feed.interrupted.v1";
  /**
   * Always "feed".
   */
  subject: "feed";
  /**
   * When the bridge made it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:feed.interrupted";
  data: FeedInterruptedData;
}
/**
 * Why polls fail.
 */
export interface FeedInterruptedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of the term; it rises by one at every start and takeover.
   */
  epoch: number;
  /**
   * Name of the bridge instance that wrote it.
   */
  instance: string;
  /**
   * True: BPCC may have worked, but no bridge was running, or the stream accepted no events. Such a gap is published when it is over, together with its feed.resumed.
   */
  bridge_away?: boolean;
  /**
   * auth: login or token refused. source: BPCC does not respond or responds with errors, or no bridge polled it (bridge_away). nats: NATS accepted no events, so that BPCC was not polled (bridge_away). subscription_lost: BPCC dropped the subscription. truncated: responses were truncated, malformed or not JSON. empty: all grids were empty, also one that had rows. frozen: nothing changed, not even the clocks of agents who are logged in. outdated: responses were older than one before them. The set is open: expect new words.
   */
  cause:
    "auth" | "source" | "nats" | "subscription_lost" | "truncated" | "empty" | "frozen" | "outdated" | (string & {});
  /**
   * The last error, for people to read; its wording may change.
   */
  error: string;
  /**
   * All observed changes before this instant are in the stream. Null before the first snapshot.
   */
  observed_until: string | null;
}
/**
 * Published with the first good snapshot after an interruption. What changed during the gap follows in the same poll, with after_gap true.
 */
export interface FeedResumed {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.feed.resumed.v1";
  /**
   * Always "feed".
   */
  subject: "feed";
  /**
   * When the bridge made it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:feed.resumed";
  data: FeedResumedData;
}
/**
 * The gap that has ended. `observed` is the gap: `after` is when the last good poll before it was sent, `by` when the response to the first good poll after it had been received.
 */
export interface FeedResumedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of the term; it rises by one at every start and takeover.
   */
  epoch: number;
  /**
   * Name of the bridge instance that wrote it.
   */
  instance: string;
  /**
   * True: the gap was caused by the absence of a bridge, or by a stream that accepted no events, and not by BPCC.
   */
  bridge_away?: boolean;
  /**
   * Cause of the interruption that ended. auth: login or token refused. source: BPCC does not respond or responds with errors, or no bridge polled it (bridge_away). nats: NATS accepted no events, so that BPCC was not polled (bridge_away). subscription_lost: BPCC dropped the subscription. truncated: responses were truncated, malformed or not JSON. empty: all grids were empty, also one that had rows. frozen: nothing changed, not even the clocks of agents who are logged in. outdated: responses were older than one before them. The set is open: expect new words.
   */
  cause:
    "auth" | "source" | "nats" | "subscription_lost" | "truncated" | "empty" | "frozen" | "outdated" | (string & {});
  observed: ObservedWindow;
}
/**
 * Published when a bridge starts or takes over and begins to publish.
 */
export interface FeedStarted {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.feed.started.v1";
  /**
   * Always "feed".
   */
  subject: "feed";
  /**
   * When the bridge made it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:feed.started";
  data: FeedStartedData;
}
/**
 * The instance that publishes from now on.
 */
export interface FeedStartedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of the term; it rises by one at every start and takeover.
   */
  epoch: number;
  /**
   * Name of the bridge instance that wrote it.
   */
  instance: string;
  /**
   * Version of the bridge.
   */
  version: string;
  /**
   * All changes before this instant that the term before observed are in the stream. Null where there was no term before.
   */
  observed_until: string | null;
}
/**
 * Published when a bridge is shut down or hands over.
 */
export interface FeedStopped {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.feed.stopped.v1";
  /**
   * Always "feed".
   */
  subject: "feed";
  /**
   * When the bridge made it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:feed.stopped";
  data: FeedStoppedData;
}
/**
 * The instance that stopped publishing, and why.
 */
export interface FeedStoppedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of the term; it rises by one at every start and takeover.
   */
  epoch: number;
  /**
   * Name of the bridge instance that wrote it.
   */
  instance: string;
  /**
   * All observed changes before this instant are in the stream. Null before the first snapshot.
   */
  observed_until: string | null;
  /**
   * Why it stopped, such as "shutdown".
   */
  reason: string;
}
/**
 * Published when a service's row appears in the grid.
 */
export interface ServiceAppeared {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.service.appeared.v1";
  /**
   * "service/" and the service's name.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:service.appeared";
  data: ServiceAppearedData;
}
/**
 * The service as it appeared: `after` is its complete image.
 */
export interface ServiceAppearedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the service: 1, 2, 3 and so on, also over restarts; its availability has a number of its own. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  /**
   * Name of the service, its key; the service token of the NATS subject, decoded.
   */
  service: string;
  /**
   * GUID of the service in BPCC. Absent where not known.
   */
  service_id?: string;
  after: ServiceImage;
}
/**
 * Complete image: the name of each subscribed statistic and its value, the exact text that BPCC sent. "" is no value, never 0. ServiceStatistics describes the usual ones.
 */
export interface ServiceImage {
  /**
   * Name of the service.
   */
  name?: string;
  /**
   * Answer time the service level is measured against, seconds.
   */
  service_level_threshold_time?: string;
  /**
   * Service level the tenant aims at, percent; BPCC does not say whether 0 to 1 or 0 to 100.
   */
  service_level_target?: string;
  /**
   * Share of inbound interactions answered within the threshold, percent; BPCC does not say whether 0 to 1 or 0 to 100.
   */
  service_level?: string;
  /**
   * Inbound interactions in the queue now, count.
   */
  in_calls_waiting?: string;
  /**
   * Wait of the longest-waiting inbound interaction now, seconds.
   */
  in_max_wait_time?: string;
  /**
   * Inbound interactions received since the daily reset, count.
   */
  in_calls_received_per_day?: string;
  /**
   * Inbound interactions abandoned in the queue after the short-abandon limit since the daily reset, count.
   */
  in_calls_abandoned_in_queue_per_day?: string;
  /**
   * Inbound interactions abandoned in the queue before the short-abandon limit since the daily reset, count.
   */
  in_calls_short_abandoned_in_queue_per_day?: string;
  /**
   * All inbound interactions abandoned since the daily reset, count.
   */
  in_calls_abandoned_total_per_day?: string;
  /**
   * Share abandoned after the short-abandon limit since the daily reset, percent; BPCC does not say whether 0 to 1 or 0 to 100.
   */
  in_calls_abandoned_in_queue_ratio_per_day?: string;
  /**
   * Share abandoned before the short-abandon limit since the daily reset, percent; BPCC does not say whether 0 to 1 or 0 to 100.
   */
  in_calls_short_abandoned_in_queue_ratio_per_day?: string;
  /**
   * Share of all abandoned since the daily reset, percent; BPCC does not say whether 0 to 1 or 0 to 100.
   */
  in_calls_abandoned_percent_per_day?: string;
  /**
   * Logged-in agents with the service's skill, count; may include agents outside the teams you see.
   */
  agents_logged?: string;
  /**
   * Such agents who are busy now, count.
   */
  agents_busy?: string;
  [k: string]: string | undefined;
}
/**
 * Published when a service's row is missing from several complete snapshots in a row. The key is deleted from the view.
 */
export interface ServiceDisappeared {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.service.disappeared.v1";
  /**
   * "service/" and the service's name.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:service.disappeared";
  data: ServiceDisappearedData;
}
/**
 * The service as last observed: `before` was its complete image.
 */
export interface ServiceDisappearedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the service: 1, 2, 3 and so on, also over restarts; its availability has a number of its own. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  /**
   * Name of the service, its key; the service token of the NATS subject, decoded.
   */
  service: string;
  /**
   * GUID of the service in BPCC. Absent where not known.
   */
  service_id?: string;
  before: ServiceImage;
}
/**
 * Published for each service in the very first snapshot, and again when the view had lost it: a state, not a change. With a revision above 1 it states what is published already, of an entity that is present.
 */
export interface ServiceObserved {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.service.observed.v1";
  /**
   * "service/" and the service's name.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:service.observed";
  data: ServiceObservedData;
}
/**
 * The service as first observed: `after` is its complete image. That is a state, not a change, so `observed.after` is null.
 */
export interface ServiceObservedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the service: 1, 2, 3 and so on, also over restarts; its availability has a number of its own. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * Name of the service, its key; the service token of the NATS subject, decoded.
   */
  service: string;
  /**
   * GUID of the service in BPCC. Absent where not known.
   */
  service_id?: string;
  after: ServiceImage;
}
/**
 * Published when a tracked statistic of a service changed.
 */
export interface ServiceStatsChanged {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.service.stats_changed.v1";
  /**
   * "service/" and the service's name.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:service.stats_changed";
  data: ServiceStatsChangedData;
}
/**
 * The change: `before` and `after` are the complete images before and after it.
 */
export interface ServiceStatsChangedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the service: 1, 2, 3 and so on, also over restarts; its availability has a number of its own. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  /**
   * Name of the service, its key; the service token of the NATS subject, decoded.
   */
  service: string;
  /**
   * GUID of the service in BPCC. Absent where not known.
   */
  service_id?: string;
  /**
   * Names of the statistics that differ between before and after; volatile ones such as in_max_wait_time are not listed.
   */
  changed: string[];
  before: ServiceImage;
  after: ServiceImage;
  /**
   * Names of the daily counters that the tenant's daily reset restarted: they fell to no value, to 0, or below half of what they were. Do not compute a difference from these. A smaller fall is a correction and is not named.
   */
  reset?: string[];
}
/**
 * Published when a raised alarm ends: its clear condition holds, the rule was removed, the entity is no longer there, or the server refuses the rule's statistic.
 */
export interface ThresholdCleared {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.threshold.cleared.v1";
  /**
   * "threshold/", the rule's name, "/" and the entity's id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:threshold.cleared";
  data: ThresholdClearedData;
}
/**
 * The end of the alarm. `observed` begins where the entity was last seen before.
 */
export interface ThresholdClearedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the rule and entity: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  /**
   * Name of the rule; the rule token of the NATS subject, decoded.
   */
  rule: string;
  severity: Severity;
  entity: EntityRef;
  /**
   * Name of the statistic compared.
   */
  stat: string;
  /**
   * The statistic's exact text at this poll, in the statistic's unit. Absent when the rule, the entity or the statistic is no longer there.
   */
  value?: string;
  /**
   * Number of the clear condition, or of the raise condition where the rule has no clear condition, in the statistic's unit.
   */
  limit: number;
  /**
   * How value compares with limit, value on the left: of the clear condition, or of the raise condition where the rule has no clear condition.
   */
  op: string;
  /**
   * How long the raise condition must hold before the alarm is raised, Go duration text such as "10s" or "1m30s".
   */
  for: string;
  /**
   * Time of the first poll at which the raise condition held.
   */
  pending_since: string;
  /**
   * Why the alarm ended. condition: the clear condition held. rule_removed: the rule is no longer configured. entity_gone: the agent, service or totals are no longer there, or the rule does not match them any more. stat_unavailable: the server refuses a statistic that the rule reads. An open set of words: expect others.
   */
  cleared_by: "condition" | "rule_removed" | "entity_gone" | "stat_unavailable" | (string & {});
}
/**
 * What the rule was applied to.
 */
export interface EntityRef {
  kind: EntityKind;
  /**
   * Id of the agent, name of the service or app id of the totals.
   */
  id: string;
}
/**
 * Published when a rule's raise condition has held for the rule's duration. A response that does not show the entity or the statistic begins the duration anew.
 */
export interface ThresholdRaised {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.threshold.raised.v1";
  /**
   * "threshold/", the rule's name, "/" and the entity's id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:threshold.raised";
  data: ThresholdRaisedData;
}
/**
 * The alarm. `observed` begins where the entity was last seen before.
 */
export interface ThresholdRaisedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the rule and entity: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  /**
   * Name of the rule; the rule token of the NATS subject, decoded.
   */
  rule: string;
  severity: Severity;
  entity: EntityRef;
  /**
   * Name of the statistic compared.
   */
  stat: string;
  /**
   * The statistic's exact text at this poll, in the statistic's unit.
   */
  value: string;
  /**
   * Number of the raise condition, in the statistic's unit.
   */
  limit: number;
  /**
   * How value compares with limit, value on the left.
   */
  op: string;
  /**
   * How long the raise condition must hold before the alarm is raised, Go duration text such as "10s" or "1m30s".
   */
  for: string;
  /**
   * Time of the first poll at which the raise condition held.
   */
  pending_since: string;
}
/**
 * Published for the totals of each app id in the very first snapshot, and again when the view had lost it: a state, not a change. With a revision above 1 it states what is published already, of an entity that is present.
 */
export interface TotalsObserved {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.totals.observed.v1";
  /**
   * "totals/" and the app id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:totals.observed";
  data: TotalsObservedData;
}
/**
 * The totals as first observed: `after` is their complete image. That is a state, not a change, so `observed.after` is null.
 */
export interface TotalsObservedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the totals: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * App id of the subscription the totals belong to; the app token of the NATS subject, decoded.
   */
  app: string;
  after: TotalsImage;
}
/**
 * Complete image: the name of each subscribed statistic and its value, the exact text that BPCC sent. "" is no value, never 0. TotalsStatistics describes the usual ones.
 */
export interface TotalsImage {
  /**
   * Inbound interactions in the queue now, over the selected services, count.
   */
  in_calls_waiting?: string;
  /**
   * Longest wait now over the selected services, seconds.
   */
  in_max_wait_time?: string;
  /**
   * Inbound interactions that entered a queue since the daily reset, count.
   */
  in_calls_queued_per_day?: string;
  /**
   * Inbound interactions received since the daily reset, count.
   */
  in_calls_received_per_day?: string;
  /**
   * Outbound call attempts that were answered since the daily reset, count.
   */
  out_calls_answered_per_day?: string;
  /**
   * Inbound interactions abandoned in the queue after the short-abandon limit since the daily reset, count.
   */
  in_calls_abandoned_in_queue_per_day?: string;
  /**
   * Inbound interactions abandoned in the queue before the short-abandon limit since the daily reset, count.
   */
  in_calls_short_abandoned_in_queue_per_day?: string;
  /**
   * Share abandoned after the short-abandon limit since the daily reset, percent; BPCC does not say whether 0 to 1 or 0 to 100.
   */
  in_calls_abandoned_in_queue_ratio_per_day?: string;
  /**
   * Share abandoned before the short-abandon limit since the daily reset, percent; BPCC does not say whether 0 to 1 or 0 to 100.
   */
  in_calls_short_abandoned_in_queue_ratio_per_day?: string;
  /**
   * Average wait before an answer, seconds; empty when nothing was answered.
   */
  in_average_speed_of_answer?: string;
  /**
   * Service level over the selected services, percent; BPCC does not say whether 0 to 1 or 0 to 100.
   */
  service_level?: string;
  /**
   * Answer time the service level is measured against, seconds.
   */
  service_level_threshold_time?: string;
  /**
   * Logged-in agents, count.
   */
  agents_logged?: string;
  /**
   * Agents in ready, count.
   */
  agents_ready?: string;
  [k: string]: string | undefined;
}
/**
 * Published when a tracked total of an app id changed.
 */
export interface TotalsStatsChanged {
  /**
   * CloudEvents version.
   */
  specversion: "1.0";
  /**
   * Tenant, epoch, poll and index, joined by hyphens. Never used twice; a retry of the same event has the same id.
   */
  id: string;
  /**
   * Address of the BPCC API that the event comes from.
   */
  source: string;
  /**
   * CloudEvents type; the schema's title.
   */
  type: "bpcc.totals.stats_changed.v1";
  /**
   * "totals/" and the app id.
   */
  subject: string;
  /**
   * When the bridge received the response that shows it, UTC with milliseconds.
   */
  time: string;
  /**
   * Media type of data.
   */
  datacontenttype: "application/json";
  /**
   * Id of this schema.
   */
  dataschema: "urn:bpcc:schema:v1:totals.stats_changed";
  data: TotalsStatsChangedData;
}
/**
 * The change: `before` and `after` are the complete images before and after it.
 */
export interface TotalsStatsChangedData {
  /**
   * Name of the contact centre; the tenant token of the NATS subject, decoded.
   */
  tenant: string;
  /**
   * Number of the poll this event belongs to; counts up, also over restarts.
   */
  poll: number;
  /**
   * Number of this event about the totals: 1, 2, 3 and so on, also over restarts. It starts again at 1 only if the last event has expired from the stream. A missing number is a missed event.
   */
  revision: number;
  observed: ObservedWindow;
  /**
   * True where this is the net difference over a gap, such as an outage or a restart. Changes that were undone within the gap are not observed. Absent or false otherwise.
   */
  after_gap?: boolean;
  /**
   * App id of the subscription the totals belong to; the app token of the NATS subject, decoded.
   */
  app: string;
  /**
   * Names of the statistics that differ between before and after; volatile ones such as in_max_wait_time are not listed.
   */
  changed: string[];
  before: TotalsImage;
  after: TotalsImage;
  /**
   * Names of the daily counters that the tenant's daily reset restarted: they fell to no value, to 0, or below half of what they were. Do not compute a difference from these. A smaller fall is a correction and is not named.
   */
  reset?: string[];
}
