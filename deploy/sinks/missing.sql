-- Polls of which the table does not have all events: a checkpoint says how many its part has, and which
-- checkpoint was before. Nothing is missing where there is no row. A poll whose events arrive after the restart
-- of a sink is missing until then; erased events stay missing.
--
--   psql -f missing.sql
WITH polls AS (
    SELECT tenant, epoch, poll,
           sum((data ->> 'events')::bigint) FILTER (WHERE type = 'bpcc.feed.checkpoint.v1') AS stated,
           count(*) FILTER (WHERE type <> 'bpcc.feed.checkpoint.v1') AS there
    FROM bpcc_events
    GROUP BY tenant, epoch, poll
), first AS (
    SELECT DISTINCT ON (tenant) tenant, id FROM bpcc_events WHERE type = 'bpcc.feed.checkpoint.v1'
    ORDER BY tenant, epoch, poll, sequence
)
SELECT tenant, epoch, poll, coalesce(stated, 0) - there AS events_missing, NULL AS checkpoint_missing
FROM polls
WHERE stated IS DISTINCT FROM there
UNION ALL
SELECT tenant, epoch, poll, NULL, data ->> 'follows'
FROM bpcc_events AS c
WHERE type = 'bpcc.feed.checkpoint.v1' AND data ->> 'follows' IS NOT NULL
  AND id NOT IN (SELECT id FROM first)
  AND NOT EXISTS (SELECT FROM bpcc_events AS before WHERE before.id = c.data ->> 'follows')
ORDER BY tenant, epoch, poll;
