-- The values of one statistic of the services, from when to when: "from" and "until" are the ends of the
-- windows in which a poll first showed them. value is null where BPCC had none; gap says that the value is the
-- first one after a time in which nobody looked.
--
--   psql -v tenant=acme -v stat=in_calls_waiting -v from=2026-11-24T08:00Z -v until=2026-11-24T16:00Z -f queue_history.sql
WITH shown AS (
    SELECT entity_id AS service, epoch, poll, revision, observed_by, coalesce(after_gap, false) AS gap, type,
           nullif(data -> 'after' ->> :'stat', '')::numeric AS value
    FROM bpcc_events
    WHERE tenant = :'tenant' AND kind = 'service'
), changed AS (
    SELECT *, lag(value) OVER w IS DISTINCT FROM value OR row_number() OVER w = 1 OR gap AS differs
    FROM shown
    WINDOW w AS (PARTITION BY service ORDER BY epoch, poll, revision)
), history AS (
    SELECT service, value, gap, type, observed_by AS "from",
           lead(observed_by) OVER (PARTITION BY service ORDER BY epoch, poll, revision) AS until
    FROM changed
    WHERE differs OR type = 'bpcc.service.disappeared.v1'
)
SELECT service, value, "from", until, gap
FROM history
WHERE type <> 'bpcc.service.disappeared.v1'
  AND "from" < :'until'::timestamptz AND (until IS NULL OR until > :'from'::timestamptz)
ORDER BY service, "from";
