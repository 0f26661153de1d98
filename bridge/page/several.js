// Several contact centres side by side, each with its own feed.

import { Centre } from "./centre.js";
import { $, setText, show } from "./dom.js";
import { Live } from "./live.js";

/** Show the tenants of the address, or all. */
export function showSeveral(address, notifier, notice) {
  const centres = new Map(); // token → centre
  const grid = $("centres");
  const live = new Live({ onTenants, onTenant, onHeartbeat() {}, onChange });
  let left = 0;
  document.body.classList.add("several");
  show($("one"), false);
  show(grid, true);
  setText($("tenant-name"), "Contact centres");
  $("skip").href = "#centres";
  setText($("skip"), "Skip to the contact centres");

  function onTenants({ tenants, left_out: leftOut }) {
    left = leftOut;
    for (const [t, c] of centres) {
      if (tenants.includes(t)) continue;
      c.node.remove();
      centres.delete(t);
    }
    for (const t of tenants) {
      if (!centres.has(t)) centres.set(t, new Centre(t, live, address, notifier));
      grid.append(centres.get(t).node);
    }
    grid.style.setProperty("--columns", Math.ceil(Math.sqrt(tenants.length || 1)));
    show($("centres-empty"), tenants.length === 0);
    tick();
  }

  function onTenant(tenant, name, v) {
    const centre = centres.get(tenant);
    centre?.take(name, v);
    if (name === "hello") setText($("version"), `bridge ${v.version}`);
    // Of all contact centres there may be a new one.
    const feeds = Object.keys(v.feeds ?? {});
    if (address.tenants === "all" && name === "heartbeat" && left === 0 && feeds.some((t) => !centres.has(t))) live.reconnect("There is another contact centre.");
  }

  function onChange() {
    if (!live.connected) for (const c of centres.values()) c.lose(live.error);
    tick();
  }

  function tick() {
    let [stale, word] = [0, live.connected ? "Live" : "Not connected"];
    for (const c of centres.values()) {
      if (c.tick().state !== "live") stale++;
    }
    if (live.connected && stale) word = stale === centres.size ? "None live" : `${stale} of ${centres.size} not live`;
    const state = !live.connected || stale ? (live.connected || live.failures ? "stale" : "unknown") : "live";
    document.body.dataset.feed = state;
    setText($("status").firstElementChild, state === "live" ? "●" : state === "stale" ? "▲" : "○");
    setText($("status-word"), live.failures || live.connected ? word : "Connecting");
    const title = `${state === "live" ? "" : "▲ "}${$("status-word").textContent} · Contact centres`;
    if (document.title !== title) document.title = title;
    show($("banner"), !live.connected && live.failures > 0);
    setText($("banner"), `The connection to the bridge is lost${live.error ? ` (${live.error.replace(/\.$/, "")})` : ""}. Reconnecting.`);
    notice(left > 0 ? [`${left} more contact centres have no room here: name those to show, as in ?tenants=acme,globex.`] : []);
    requestAnimationFrame(() => {
      for (const c of centres.values()) c.draw();
    });
  }

  live.openSeveral(address.tenants === "all" ? "all" : address.tenants.join(","));
  setInterval(tick, 250);
}
