// A log as it is written. The server has written its end into the page; what comes is added, and the view
// stays at the end unless somebody has scrolled up.

const most = 5000; // lines in the page

/** A log that grows. */
class Log {
  over = false;
  /** @type {AbortController | null} */
  asks = null;

  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
    this.lines = /** @type {HTMLElement} */ (box.querySelector(".lines"));
  }

  /** A log takes a connection of its own, so only the tab in front has one.
   * @param {boolean} live */
  look(live) {
    if (live && !document.hidden && !this.over && !this.asks) void this.follow();
    if (document.hidden) this.end();
  }

  end() {
    this.asks?.abort();
    this.asks = null;
  }

  /** Asks for what comes, again and again: the reply comes when there is something, or after a while. */
  async follow() {
    const asks = this.asks = new AbortController();
    for (let tries = 0; !this.over && !asks.signal.aborted;) {
      try {
        const reply = await fetch(this.lines.dataset.more ?? "", { signal: asks.signal, headers: { Accept: "text/html" } });
        const more = reply.ok && new DOMParser().parseFromString(await reply.text(), "text/html").querySelector(".lines");
        if (asks.signal.aborted) return;
        if (more instanceof HTMLElement) { this.add(more); tries = 0; continue; }
        if (reply.status < 500 && reply.status !== 429) { this.over = true; break; } // nobody is logged in any more, say
      } catch {
        if (asks.signal.aborted) return;
      }
      await new Promise((resolve) => setTimeout(resolve, Math.min(30_000, 1000 * 2 ** tries++)));
    }
    if (this.asks === asks) this.asks = null;
  }

  /** @param {HTMLElement} more */
  add(more) {
    this.lines.dataset.more = more.dataset.more;
    this.over = more.dataset.over !== undefined;
    if (more.childElementCount === 0) return;
    const up = this.box.scrollTop < -4; // the end is at 0
    const before = this.box.scrollHeight;
    this.lines.querySelector("[data-open]")?.remove(); // it comes again
    this.lines.append(...more.children);
    for (let over = this.lines.childElementCount - most; over > 0; over--) this.lines.firstElementChild?.remove();
    if (up) this.box.scrollTop -= this.box.scrollHeight - before;
  }
}

/** @type {Log | null} */
let log = null;

function look() {
  const box = document.querySelector(".log.ends"), live = document.querySelector("#log-state[data-live]") !== null;
  if (!(box instanceof HTMLElement)) return;
  if (log?.box !== box) { log?.end(); log = new Log(box); }
  if (log.over && live) log.over = false; // it runs again
  log.look(live);
}
look();
document.addEventListener("refreshed", look);
document.addEventListener("visibilitychange", look);
