// The live page: one contact centre, or several side by side.

import { Address } from "./address.js";
import { $, setText, show } from "./dom.js";
import { Notifier } from "./notices.js";
import { showOne } from "./one.js";
import { showSeveral } from "./several.js";

const address = new Address(location.search);
document.documentElement.classList.toggle("wall", address.wall);

// notice shows what is wrong with the address, and what else the reader should know.
function notice(more) {
  const text = [...address.faults, ...more].join(" ");
  show($("notice"), text !== "");
  if (text) setText($("notice"), text);
}

notice([]);
for (const type of ["pointerdown", "focus"]) $("to-wall").addEventListener(type, (e) => (e.target.href = address.with({ wall: "1" })));
(address.tenants ? showSeveral : showOne)(address, new Notifier(), notice);
