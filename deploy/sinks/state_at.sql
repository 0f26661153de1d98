-- Who was in which state at an instant, as `bridge state --at` says it: one row for each agent that was
-- present or may have been. Of an agent who is not certain, states has all that are possible.
--
--   psql -v tenant=acme -v at=2026-11-24T14:03:17Z -f state_at.sql
WITH asked AS (
    SELECT :'at'::timestamptz AS at
), candidates AS (
    SELECT s.*, at, begun_by > at AS begins
    FROM bpcc_agent_states AS s, asked
    WHERE tenant = :'tenant' AND (begun_after IS NULL OR begun_after < at) AND (ended_by IS NULL OR ended_by > at)
), possible AS (
    SELECT agent, state, next_state, reason, begun_by, name, team, begun_after IS NULL AND begins AS unseen FROM candidates
    UNION ALL -- an agent who appears was absent before
    SELECT agent, NULL, NULL, NULL, begun_after, name, team, false
    FROM candidates AS c
    WHERE begins AND begun_after IS NOT NULL
      AND NOT EXISTS (SELECT FROM candidates AS before WHERE before.agent = c.agent AND before.begun_by < c.begun_by)
), unobserved AS (
    SELECT min(cause) AS cause FROM bpcc_unobserved, asked WHERE tenant = :'tenant' AND during @> at
), agents AS (
    SELECT agent, max(name) AS name, max(team) AS team, bool_or(unseen) AS unseen,
           array_agg(DISTINCT coalesce(state || coalesce(' (' || reason || ')', '') || coalesce(', then ' || next_state, ''), 'absent')) AS states
    FROM possible
    GROUP BY agent
)
SELECT agent, name, team,
       CASE WHEN unseen THEN '{}' ELSE states END AS states,
       NOT unseen AND cardinality(states) = 1 AND cause IS NULL AS certain,
       CASE WHEN unseen THEN 'before_first_observation'
            WHEN cause IS NOT NULL THEN cause
            WHEN cardinality(states) > 1 THEN 'changing' END AS why
FROM agents, unobserved
WHERE unseen OR states <> '{absent}'
ORDER BY agent;
