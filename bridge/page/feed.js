// How fresh the data is: the first thing a reader must know.

import { $, setText, setAttr, show } from "./dom.js";
import { ago, timeOf, untoken } from "./text.js";

const causes = {
  auth: "BPCC refuses the credentials",
  source: "BPCC does not answer",
  nats: "NATS accepted no events",
  subscription_lost: "another program replaced the subscription",
  truncated: "BPCC's responses are truncated",
  empty: "BPCC's grids are empty",
};

/**
 * Judge how far the data can be trusted: a state of "live", "stale" or "unknown",
 * its word, and for all but live a sentence that says why.
 */
export function judge({ live, view, staleAfter, everReady }) {
  const feed = view.feed;
  const until = Date.parse(feed?.observed_until ?? "");
  const seen = Number.isNaN(until) ? null : until;
  const age = seen === null ? null : live.now() - seen;
  const asOf = seen === null ? "" : ` The data shown is from ${timeOf(seen)}.`;
  if (!live.connected && !everReady) {
    const why = live.error ? `The bridge cannot send data yet: ${live.error}.` :
      live.failures > 1 ? "The bridge does not respond, or its limit of open pages is reached. Reconnecting." : "";
    return { state: "unknown", word: "Connecting", why, seen, age };
  }
  if (!live.connected) {
    const why = live.error ? ` (${live.error.replace(/\.$/, "")})` : "";
    return { state: "stale", word: "Not connected", why: `The connection to the bridge is lost${why}.${asOf} Reconnecting.`, seen, age };
  }
  if (!feed) return { state: "unknown", word: "No data yet", why: "No bridge has published anything for this contact centre yet.", seen, age };
  switch (feed.status) {
    case "interrupted": {
      const i = view.interrupted;
      const cause = i ? `: ${causes[i.cause] ?? i.cause}${i.error ? ` (${i.error})` : ""}` : "";
      return { state: "stale", word: "Interrupted", why: `BPCC cannot be polled${cause}.${asOf}`, seen, age };
    }
    case "stopped":
      return { state: "stale", word: "Stopped", why: `The bridge was stopped.${asOf}`, seen, age };
    case "stale":
      return { state: "stale", word: "Stale", why: `The bridge no longer publishes; it may be dead.${asOf}`, seen, age };
  }
  if (age === null || age > staleAfter) {
    return { state: "stale", word: "Stale", why: `No data from the bridge for ${ago(age ?? 0).replace(" ago", "")}.${asOf}`, seen, age };
  }
  return { state: "live", word: feed.status === "live" ? "Live" : feed.status, why: "", seen, age };
}

export const feedGlyphs = { live: "●", stale: "▲", unknown: "○" };

/** Show the verdict at the top, over the whole page, and in the title. */
export function showFeed(verdict, { view, rate, tenant }) {
  const { state, word, why, age } = verdict;
  setAttr(document.body, "data-feed", state);
  setText($("status").firstElementChild, feedGlyphs[state]);
  setText($("status-word"), word);
  show($("banner"), Boolean(why));
  if (why) setText($("banner"), why);
  setText($("fact-seen"), age === null ? "–" : ago(age));
  const feed = view.feed;
  setText($("fact-leader"), feed?.instance ?? "–");
  setText($("fact-epoch"), feed ? String(feed.epoch) : "–");
  setText($("fact-poll"), feed ? String(feed.poll) : "–");
  setText($("fact-rate"), `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} / s`);
  const title = `${state === "live" ? "" : "▲ "}${word} · ${tenant}`;
  if (document.title !== title) document.title = title;
}

/** Show which contact centre this is, and let the reader pick if there are several. */
export function showTenants(feeds, tenant, view) {
  const name = view.feed?.tenant ?? untoken(tenant);
  setText($("tenant-name"), name || "BPCC bridge");
  const several = Object.keys(feeds).length > 1 || (tenant && !(tenant in feeds) && Object.keys(feeds).length > 0);
  show($("tenant-pick"), several);
  show($("tenant-name"), !several);
  show($("to-all"), several);
  if (!several) return;
  const wanted = [...new Set([...Object.keys(feeds), tenant])].sort();
  const select = $("tenant");
  if (select.options.length !== wanted.length || wanted.some((t, i) => select.options[i].value !== t)) {
    select.replaceChildren(...wanted.map((t) => new Option("", t)));
  }
  for (const o of select.options) {
    const status = feeds[o.value]?.data?.status;
    setText(o, untoken(o.value) + (status && status !== "live" ? ` (${status})` : ""));
  }
  if (document.activeElement !== select) select.value = tenant;
}
