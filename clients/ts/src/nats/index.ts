/** Readers of the stream and the view, on a connection of nats.js. */
export { askAvailability, type AskedAnswer } from "./ask.js";
export { consume, type ConsumeOptions, OtherTimelineError } from "./consume.js";
export { lastCheckpoint, replay, type Selection, type StreamOptions } from "./stream.js";
export { type Answer, type Change, type Latest, View, type ViewKind, type ViewOptions } from "./view.js";
