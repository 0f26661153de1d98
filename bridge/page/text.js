// Texts for people.

/** The states of agents that BPCC is known to have: word, glyph and colour. The set is open. */
const states = {
  ready: ["Ready", "●", "ready"],
  busy: ["Busy", "◆", "busy"],
  after_call_work: ["After-call work", "◐", "after"],
  not_ready: ["Not ready", "▲", "away"],
  supervising: ["Supervising", "◎", "busy"],
  logged_out: ["Logged out", "○", "out"],
};

/** The order in which states are shown; others come before logged_out. */
export const stateOrder = ["ready", "busy", "after_call_work", "not_ready", "supervising"];

export const stateWord = (s) => states[s]?.[0] ?? words(s || "unknown");
export const stateGlyph = (s) => states[s]?.[1] ?? "■";
export const stateColour = (s) => states[s]?.[2] ?? "other";

/** words makes "in_calls_waiting" readable where no better name is known. */
export const words = (s) => {
  const t = s.replace(/_per_day$/, "_today").replaceAll("_", " ");
  return t.charAt(0).toUpperCase() + t.slice(1);
};

/** Columns of queues and totals with names of their own, in the order in which they are shown. */
const stats = {
  in_calls_waiting: "Waiting",
  in_max_wait_time: "Longest wait",
  service_level: "Service level",
  agents_busy: "Busy agents",
  agents_ready: "Ready agents",
  agents_logged: "Agents logged in",
  in_calls_received_per_day: "Received today",
  in_calls_queued_per_day: "Queued today",
  in_calls_abandoned_in_queue_per_day: "Abandoned today",
};

export const statName = (s) => stats[s] ?? words(s);

const rank = Object.keys(stats);
/** byRank orders statistics: the known ones first. */
export const byRank = (a, b) => (rank.indexOf(a) + 1 || 99) - (rank.indexOf(b) + 1 || 99) || a.localeCompare(b);

const ops = { ">=": "≥", "<=": "≤", "!=": "≠", "==": "=" };
export const opSign = (op) => ops[op] ?? op;

/** number reads a statistic, a finite decimal number; NaN for any other text and for "no value", which is never 0. */
export const number = (s) => {
  const n = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(s ?? "") ? Number(s) : NaN;
  return Number.isFinite(n) ? n : NaN;
};

const isTime = (stat) => /(_time|_duration)$/.test(stat);

/** value writes a statistic as BPCC sent it; times as a clock, long fractions shorter. */
export const value = (stat, s) => {
  const n = number(s);
  if (s === undefined || s === "") return "–";
  if (Number.isNaN(n)) return s;
  if (isTime(stat)) return clock(n);
  return s.length > 6 && !Number.isInteger(n) ? String(Math.round(n * 1000) / 1000) : s;
};

/** clock writes seconds as 4:05 or 1:04:05. */
export const clock = (seconds) => {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  return `${Math.floor(s / 86400)} days`;
};

const hourFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
/** hourOf writes an instant as hours and minutes. */
export const hourOf = (ms) => hourFormat.format(ms);

/** ago writes how long something is past, such as "1.2 s ago". */
export const ago = (ms) => {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s ago`;
  if (s < 120) return `${Math.floor(s)} s ago`;
  if (s < 7200) return `${Math.floor(s / 60)} min ago`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} days ago`;
};

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
/** timeOf writes an instant of today as its time, and any other with its day. */
export const timeOf = (ms, now = Date.now()) => (Math.abs(now - ms) < 12 * 3600e3 ? timeFormat : dayFormat).format(ms);

/** untoken reads the id back from a token of a subject or key. */
export const untoken = (t) => {
  try {
    return decodeURIComponent(t.replaceAll("%", "%25").replaceAll("=", "%"));
  } catch {
    return t;
  }
};

/** The groups of events that a reader can turn on and off: name, and whether it is on at first. */
export const groups = {
  state: ["Agent states", true],
  threshold: ["Thresholds", true],
  availability: ["Availability", true],
  feed: ["Feed", true],
  directory: ["Directory", true],
  chat: ["Chat", true],
  service: ["Queue numbers", false],
  agent: ["Agent numbers", false],
  totals: ["Totals", false],
  checkpoint: ["Checkpoints", false],
};

/** shortType is the type without its ends: agent.state_changed. */
export const shortType = (type) => type.replace(/^bpcc\./, "").replace(/\.v\d+$/, "");

/** groupOf puts a type, such as agent.state_changed, into one of the groups. */
export const groupOf = (type) => {
  const [kind, verb] = type.split(".");
  if (kind === "agent") return verb === "stats_changed" ? "agent" : "state";
  if (type === "feed.checkpoint") return "checkpoint";
  return kind in groups ? kind : "feed";
};

const stateText = (s) => (s ? stateWord(s.state) + (s.reason ? ` (${s.reason})` : "") + (s.next_state ? `, then ${stateWord(s.next_state).toLowerCase()}` : "") : "");
const yesNo = (b) => (b === true ? "yes" : b === false ? "no" : "unknown");
const list = (things) => (things ?? []).map((t) => t.name ?? t.id ?? String(t)).join(", ");

/** describe says in few words whom an event is about, and what happened. */
export function describe(type, event) {
  const d = event.data ?? {};
  const [kind, verb] = type.split(".");
  const who = d.agent?.name || d.agent?.id || d.service || d.entity?.id || d.app || d.instance || d.kind || "";
  const changes = () =>
    (d.changed ?? []).map((s) => `${statName(s)} ${value(s, d.before?.[s])} → ${value(s, d.after?.[s])}`).join(", ");
  const gap = d.after_gap ? " – after a gap" : "";
  switch (true) {
    case type === "feed.checkpoint":
      return ["Feed", `poll ${d.poll}: ${d.status}, ${d.events} ${d.events === 1 ? "event" : "events"}`];
    case type === "feed.erased":
      return ["Feed", `erased one person: ${d.messages} ${d.messages === 1 ? "message" : "messages"}${d.reason ? ` (${d.reason})` : ""}`];
    case kind === "feed":
      return ["Feed", [verb, d.cause, d.error, verb === "started" ? d.instance : ""].filter(Boolean).join(": ")];
    case kind === "threshold": {
      const why = verb === "raised" ? `, limit ${opSign(d.op)} ${value(d.stat, String(d.limit))}` : d.cleared_by === "condition" ? "" : ` (${(d.cleared_by ?? "").replaceAll("_", " ")})`;
      return [who, `${verb} ${d.rule} (${d.severity}): ${statName(d.stat)} ${value(d.stat, d.value)}${why}`];
    }
    case kind === "directory":
      return ["Directory", d.baseline ? `lists ${(d.added ?? []).length} ${d.kind}` :
        [d.kind, d.added?.length && `added ${list(d.added)}`, d.removed?.length && `removed ${list(d.removed)}`, d.renamed?.length && `renamed ${d.renamed.map((r) => `${r.from} to ${r.to}`).join(", ")}`].filter(Boolean).join(": ")];
    case kind === "chat":
      return [d.message?.login_id ?? "Chat", d.message?.content ?? ""];
    case type === "availability.changed":
      return [who, `available: ${yesNo(d.previous)} → ${yesNo(d.available)}${gap}`];
    case kind === "availability":
      return [who, `available: ${yesNo(d.available)}`];
    case verb === "state_changed" && d.reentered:
      return [who, `left ${stateText(d.to).toLowerCase()} and returned`];
    case verb === "state_changed":
      return [who, `${stateText(d.from)} → ${stateText(d.to)}${gap}`];
    case d.changed?.length > 0:
      return [who, changes() + gap];
    case kind === "agent" && d.to !== undefined:
      return [who, `${verb}: ${stateText(d.to)}${gap}`];
  }
  return [who, verb ?? ""];
}
