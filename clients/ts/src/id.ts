/** The position of an event among the events of its tenant. */
export interface EventId {
  readonly tenant: string;
  /** Number of the term: it rises by one at every start and takeover. */
  readonly epoch: number;
  /** Number of the poll: it counts on over restarts. */
  readonly poll: number;
  /** Number of the event within the poll, counted from 1; the poll's checkpoint has the last one. */
  readonly index: number;
}

/** Thrown for text that is not the id of an event. */
export class EventIdError extends Error {
  override readonly name = "EventIdError";
}

/**
 * Parses the `id` of an event, such as `acme-3-18250-7`. The tenant may hold hyphens.
 *
 * @throws {EventIdError} The text is not tenant, epoch, poll and index.
 */
export function parseEventId(id: string): EventId {
  const [, tenant, epoch, poll, index] = /^(.+)-([1-9][0-9]*)-([1-9][0-9]*)-(0|[1-9][0-9]*)$/su.exec(id) ?? [];
  const position = { tenant: tenant ?? "", epoch: Number(epoch), poll: Number(poll), index: Number(index) };
  if (!(Number.isSafeInteger(position.epoch) && Number.isSafeInteger(position.poll) && Number.isSafeInteger(position.index))) {
    throw new EventIdError(`parse event id: ${JSON.stringify(id)} is not tenant, epoch, poll and index`);
  }
  return position;
}

/** Formats an id: the reverse of {@link parseEventId}. */
export function formatEventId({ tenant, epoch, poll, index }: EventId): string {
  return `${tenant}-${epoch}-${poll}-${index}`;
}

/**
 * Compares two positions: negative if a comes before b in the stream, positive if
 * after, 0 if they are the same. Positions of different tenants have no order, so
 * the tenant is not compared.
 */
export function compareEventIds(a: EventId, b: EventId): number {
  return a.epoch - b.epoch || a.poll - b.poll || a.index - b.index;
}
