-- The events of the bridge in PostgreSQL 14 or later. postgresql.yaml fills the table; the columns are
-- those of `bridge replay --format csv`, described in docs/sinks.md. It may be run again.

CREATE TABLE IF NOT EXISTS bpcc_events (
    sequence           bigint      NOT NULL,
    stored             timestamptz NOT NULL,
    subject            text        NOT NULL,
    id                 text        PRIMARY KEY,
    type               text        NOT NULL,
    time               timestamptz,
    tenant             text,
    epoch              bigint,
    poll               bigint,
    kind               text,
    entity_id          text,
    entity_kind        text,
    name               text,
    team               text,
    from_state         text,
    from_next_state    text,
    from_reason        text,
    to_state           text,
    to_next_state      text,
    to_reason          text,
    since              timestamptz,
    reentered          boolean,
    revision           bigint,
    state_revision     bigint,
    observed_after     timestamptz,
    observed_by        timestamptz,
    after_gap          boolean,
    rule               text,
    severity           text,
    stat               text,
    value              text,
    op                 text,
    limit_value        double precision,
    cleared_by         text,
    available          boolean,
    previous_available boolean,
    unknown_reason     text,
    status             text,
    cause              text,
    observed_until     timestamptz,
    data               jsonb       NOT NULL
);

CREATE INDEX IF NOT EXISTS bpcc_events_entity ON bpcc_events (tenant, kind, entity_id, epoch, poll, revision);
CREATE INDEX IF NOT EXISTS bpcc_events_poll ON bpcc_events (tenant, epoch, poll);
CREATE INDEX IF NOT EXISTS bpcc_events_time ON bpcc_events USING brin (time);

-- The states of agents. A state began after one instant and by another, and ended so; state is null where
-- the agent has no row. An event that states again what is known begins no state.
CREATE OR REPLACE VIEW bpcc_agent_states AS
WITH changes AS (
    SELECT tenant, entity_id AS agent, name, team, epoch, poll, revision, type,
           to_state AS state, to_next_state AS next_state, to_reason AS reason, observed_after, observed_by,
           type = 'bpcc.agent.observed.v1' AND row_number() OVER w > 1
               AND (to_state, to_next_state, to_reason) IS NOT DISTINCT FROM
                   (lag(to_state) OVER w, lag(to_next_state) OVER w, lag(to_reason) OVER w) AS stated_again
    FROM bpcc_events
    WHERE kind = 'agent'
      AND type IN ('bpcc.agent.observed.v1', 'bpcc.agent.appeared.v1', 'bpcc.agent.state_changed.v1', 'bpcc.agent.disappeared.v1')
    WINDOW w AS (PARTITION BY tenant, entity_id ORDER BY epoch, poll, revision)
), begun AS (
    SELECT *, coalesce(observed_after, lag(observed_by) OVER w) AS begun_after, observed_by AS begun_by
    FROM changes
    WHERE NOT stated_again
    WINDOW w AS (PARTITION BY tenant, agent ORDER BY epoch, poll, revision)
)
SELECT tenant, agent, name, team, type, state, next_state, reason, begun_after, begun_by,
       lead(begun_after) OVER w AS ended_after, lead(begun_by) OVER w AS ended_by
FROM begun
WINDOW w AS (PARTITION BY tenant, agent ORDER BY epoch, poll, revision);

-- The times in which a tenant was not observed, with their cause: before the first good poll, in each gap,
-- and after the last observation that a checkpoint confirms.
CREATE OR REPLACE VIEW bpcc_unobserved AS
WITH last AS (
    SELECT DISTINCT ON (tenant) tenant, status, observed_until
    FROM bpcc_events
    WHERE type = 'bpcc.feed.checkpoint.v1'
    ORDER BY tenant, epoch DESC, poll DESC, sequence DESC
)
SELECT tenant, tstzrange(NULL, min(time), '()') AS during, 'before_first_observation' AS cause
FROM bpcc_events
WHERE type = 'bpcc.feed.checkpoint.v1' AND observed_until IS NOT NULL
GROUP BY tenant
UNION ALL
SELECT tenant, tstzrange(observed_after, observed_by, '()'),
       CASE WHEN (data ->> 'bridge_away')::boolean THEN 'bridge_away' ELSE 'gap' END
FROM bpcc_events
WHERE type = 'bpcc.feed.resumed.v1'
UNION ALL
SELECT tenant, tstzrange(observed_until, NULL, '()'), CASE status WHEN 'live' THEN 'unconfirmed' ELSE status END
FROM last
WHERE observed_until IS NOT NULL;
