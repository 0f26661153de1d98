-- How long each agent was in each state: at least as long as that is certain, and at most as long as it is
-- possible while the tenant was observed. A gap counts for neither.
--
--   psql -v tenant=acme -v from=2026-11-24T08:00Z -v until=2026-11-24T16:00Z -f time_in_state.sql
WITH asked AS (
    SELECT tstzrange(:'from'::timestamptz, :'until'::timestamptz) AS period
), observed AS (
    SELECT tstzmultirange(period) - coalesce((SELECT range_agg(during) FROM bpcc_unobserved WHERE tenant = :'tenant'), '{}') AS times
    FROM asked
), stages AS (
    SELECT agent, name, state, reason,
           CASE WHEN ended_after IS NULL OR begun_by <= ended_after THEN tstzrange(begun_by, ended_after) ELSE 'empty' END AS certain,
           tstzrange(begun_after, ended_by) AS possible
    FROM bpcc_agent_states
    WHERE tenant = :'tenant' AND state IS NOT NULL
), times AS (
    SELECT agent, max(name) AS name, state, reason,
           range_agg(certain) * (SELECT times FROM observed) AS certain,
           range_agg(possible) * (SELECT times FROM observed) AS possible
    FROM stages
    GROUP BY agent, state, reason
)
SELECT agent, name, state, reason,
       (SELECT coalesce(sum(upper(r) - lower(r)), '0') FROM unnest(certain) AS r) AS at_least,
       (SELECT coalesce(sum(upper(r) - lower(r)), '0') FROM unnest(possible) AS r) AS at_most
FROM times
WHERE NOT isempty(possible)
ORDER BY agent, at_most DESC, state, reason;
