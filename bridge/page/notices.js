// Sound and notices of the browser when a threshold is raised: off until the reader asks for them.

import { $, setAttr, setText, stored } from "./dom.js";
import { statName, value, words } from "./text.js";

/** How old the event of a raised threshold may be that is still news when the feed has just become live, in ms. */
const news = 60_000;
/** The tones of each severity, in Hz. */
const tones = { critical: [880, 660, 880], warning: [660, 880], info: [660] };

/** Sounds and shows what is raised, as far as the reader has asked for it. */
export class Notifier {
  #sound = stored.get("sound") === true;
  #notices = stored.get("notices") === true;
  #audio = null;

  constructor() {
    $("notify-sound").addEventListener("click", () => this.#setSound(!this.#sound));
    $("notify-browser").addEventListener("click", () => this.#setNotices(!this.#notices));
    // A browser plays nothing before the reader has touched the page.
    for (const type of ["pointerdown", "keydown"]) addEventListener(type, () => this.#sound && this.#unlock(), { once: true });
    this.#draw();
  }

  #setSound(on) {
    this.#sound = on;
    stored.set("sound", on);
    if (on) this.#play("info");
    this.#draw();
  }

  async #setNotices(on) {
    let note = "";
    if (on && !("Notification" in globalThis)) note = "This browser shows notices on https and on this machine only.";
    else if (on && (await Notification.requestPermission()) !== "granted") note = "The browser does not allow notices of this page.";
    this.#notices = on && !note;
    stored.set("notices", this.#notices);
    setText($("notify-note"), note);
    this.#draw();
  }

  #draw() {
    for (const [id, on] of [["notify-sound", this.#sound], ["notify-browser", this.#notices]]) setAttr($(id), "aria-pressed", String(on));
  }

  async #unlock() {
    try {
      this.#audio ??= new AudioContext();
      await this.#audio.resume();
    } catch {
      setText($("notify-note"), "This browser plays no sound.");
    }
  }

  /** Notify of a threshold of a tenant; id is that of the event. */
  notify(tenant, id, t) {
    if (this.#sound) this.#play(t.severity);
    if (!this.#notices || !("Notification" in globalThis) || Notification.permission !== "granted") return;
    const limit = `${t.entity?.id}: ${statName(t.stat).toLowerCase()} ${value(t.stat, t.value)}`;
    try {
      // Pages that show the same have the same tag: the browser shows one notice.
      new Notification(`${words(t.severity ?? "")}: ${t.rule}`, { body: `${limit} (${tenant})`, tag: id });
    } catch {
      setText($("notify-note"), "This browser shows no notices of pages."); // as those of phones
    }
  }

  async #play(severity) {
    const asked = performance.now();
    await this.#unlock();
    // A browser that has held the sound back until now would play old news.
    if (performance.now() - asked > 3000 || this.#audio?.state !== "running") return;
    const at = this.#audio.currentTime;
    (tones[severity] ?? tones.info).forEach((hertz, i) => {
      const tone = this.#audio.createOscillator();
      const gain = this.#audio.createGain();
      tone.frequency.value = hertz;
      gain.gain.setValueAtTime(0.0001, at + i * 0.22);
      gain.gain.exponentialRampToValueAtTime(0.25, at + i * 0.22 + 0.02);
      gain.gain.exponentialRampToValueAtTime(0.0001, at + i * 0.22 + 0.2);
      tone.connect(gain).connect(this.#audio.destination);
      tone.start(at + i * 0.22);
      tone.stop(at + i * 0.22 + 0.21);
    });
  }
}

/** Finds the thresholds of one tenant that were raised since the page has looked: each is news once. */
export class Raises {
  #seen = null; // key → since when its condition holds; null before the first look
  #liveSince = NaN; // NaN: the feed is not live

  constructor(notifier) {
    this.notifier = notifier;
  }

  /** Look at what is raised. Nothing is news while the feed is not live, and what is old by then is none later. */
  look(view, isLive, now, tenant) {
    const first = this.#seen === null;
    if (!isLive) this.#liveSince = NaN;
    else if (Number.isNaN(this.#liveSince)) this.#liveSince = now;
    this.#seen ??= new Map();
    for (const key of this.#seen.keys()) if (!view.thresholds.has(key)) this.#seen.delete(key);
    for (const [key, t] of view.thresholds) {
      // A threshold that is published once more is the same.
      if (this.#seen.get(key) === t.pending_since || (!first && !isLive)) continue;
      this.#seen.set(key, t.pending_since);
      if (!first && t.at > Math.min(this.#liveSince, now - news)) this.notifier.notify(tenant, `${tenant}.${key}.${t.pending_since}`, t);
    }
  }

  /** Begin again, for another tenant. */
  clear() {
    this.#seen = null;
    this.#liveSince = NaN;
  }
}
