// The log of an activation as it is written. The server has written its end into the page; what comes
// is added, and the view stays at the end unless somebody has scrolled up.

const most = 5000; // lines in the page
const shown = 2000; // characters of a line
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** How text is to look: what escape sequences have set. */
class Pen {
  bold = false; italic = false; under = false; inverse = false; fore = 0; back = 0;

  get names() {
    let { fore, back } = this;
    const names = [];
    if (this.inverse) [fore, back] = [back, fore];
    if (this.inverse && !fore && !back) names.push("inverse");
    for (const name of /** @type {const} */ (["bold", "italic", "under"])) if (this[name]) names.push(name);
    if (fore) names.push(`f${fore - 1}`);
    if (back) names.push(`b${back - 1}`);
    return names.join(" ");
  }

  /** @param {string} parameters */
  set(parameters) {
    const all = parameters.split(/[;:]/).filter((text, i) => text || i === 0).map(Number);
    for (let i = 0; i < all.length; i++) {
      const n = all[i];
      if (n === 0) Object.assign(this, new Pen());
      else if (n === 1 || n === 22) this.bold = n === 1;
      else if (n === 3 || n === 23) this.italic = n === 3;
      else if (n === 4 || n === 24) this.under = n === 4;
      else if (n === 7 || n === 27) this.inverse = n === 7;
      else if (n >= 30 && n <= 37) this.fore = n - 29;
      else if (n === 39) this.fore = 0;
      else if (n >= 40 && n <= 47) this.back = n - 39;
      else if (n === 49) this.back = 0;
      else if (n >= 90 && n <= 97) this.fore = n - 81;
      else if (n >= 100 && n <= 107) this.back = n - 91;
      else if (n === 38 || n === 48) {
        let colour = 0;
        if (all[i + 1] === 5) { colour = ofTable(all[i + 2] || 0); i += 2; }
        else if (all[i + 1] === 2) { colour = nearest(all[i + 2] || 0, all[i + 3] || 0, all[i + 4] || 0); i += 4; }
        if (n === 38) this.fore = colour; else this.back = colour;
      }
    }
  }
}

/** @param {number} n one of the 256 colours */
function ofTable(n) {
  if (n < 16) return n + 1;
  if (n >= 232) { const grey = 8 + 10 * (n - 232); return nearest(grey, grey, grey); }
  n -= 16;
  return nearest(Math.floor(n / 36) * 51, Math.floor(n / 6) % 6 * 51, n % 6 * 51);
}

/** @param {number} r
 * @param {number} g
 * @param {number} b */
function nearest(r, g, b) {
  const high = Math.max(r, g, b);
  if (high < 64) return 1;
  const n = [r, g, b].reduce((sum, c, bit) => sum + (2 * c > high ? 2 ** bit : 0), 0);
  if (n === 7 && high < 160) return 9;
  return high >= 208 ? n + 9 : n + 1;
}

// An escape sequence: one that sets the pen, any other, or a text for the terminal.
const escapes = /\x1b(?:\[([0-9;:]*)m|\[[^\x40-\x7e\x00-\x1f]*[\x40-\x7e]?|[\]P_^X](?:(?!\x07|\x1b\\)[^])*(?:\x07|\x1b\\)?|[()# %][^]?|[^]?)/g;

/** Adds a line's text to an element.
 * @param {Element} to
 * @param {string} line
 * @param {Pen} pen */
function paint(to, line, pen) {
  line = line.replace(/\r+$/, "");
  const parts = line.slice(line.lastIndexOf("\r") + 1);
  for (const [, sets] of line.slice(0, line.length - parts.length).matchAll(escapes)) if (sets !== undefined) pen.set(sets);
  let left = shown, at = 0, hidden = 0;
  /** @param {string} text */
  const add = (text) => {
    text = text.replace(/\x08/g, "").replace(/[\x00-\x08\x0b-\x1f]/g, (c) => "^" + String.fromCharCode(64 + c.charCodeAt(0))).replace(/\x7f/g, "^?");
    const all = [...text];
    hidden += Math.max(0, all.length - left);
    text = all.slice(0, left).join("");
    left -= Math.min(left, all.length);
    if (!text) return;
    const names = pen.names;
    if (!names) { to.append(text); return; }
    const span = document.createElement("span");
    span.className = names;
    span.textContent = text;
    to.append(span);
  };
  for (const found of parts.matchAll(escapes)) {
    add(parts.slice(at, found.index));
    at = found.index + found[0].length;
    if (found[1] !== undefined) pen.set(found[1]);
  }
  add(parts.slice(at));
  if (hidden) to.append(` … ${hidden} more characters`);
}

/** A log that grows. */
class Log {
  /** @param {HTMLElement} box
   * @param {HTMLElement} state */
  constructor(box, state) {
    this.box = box;
    this.state = state;
    this.lines = /** @type {HTMLElement} */ (box.querySelector(".lines"));
    this.next = box.dataset.next ?? "";
    this.link = (box.dataset.link ?? "").replace(/log=[^&]*&at=$/, "");
    this.pen = new Pen();
    /** @type {Uint8Array} */
    this.rest = new Uint8Array(); // the beginning of a line
    this.n = this.number();
    /** @type {EventSource | null} */
    this.source = null;
    this.tries = 0;
    this.over = false;
  }

  /** The number of the last line that has ended; 0: it is not known. */
  number() {
    const rows = [...this.lines.children].filter((row) => !row.hasAttribute("data-open"));
    if (rows.length === 0) return this.next.endsWith(".0") ? 0 : -1;
    const n = Number(rows.at(-1)?.firstElementChild?.textContent);
    return Number.isInteger(n) ? n : -1;
  }

  /** A log takes a connection of its own, so only the tab in front has one. */
  look() {
    const want = this.state.hasAttribute("data-live") && !document.hidden && !this.over;
    if (want && !this.source) this.open();
    if (!want && this.source && (document.hidden || this.over)) { this.source.close(); this.source = null; }
  }

  open() {
    const source = new EventSource(`${this.state.dataset.stream}&next=${encodeURIComponent(this.next)}`);
    this.source = source;
    if (this.rest.length > 0) { // it comes again: a place is where a line begins
      this.rest = new Uint8Array();
    }
    source.onopen = () => { this.tries = 0; };
    source.onmessage = ({ data }) => this.take(JSON.parse(data));
    source.addEventListener("problem", () => { this.end(); });
    source.onerror = () => { // a new one, as this one would begin where it began
      source.close();
      if (this.source !== source) return;
      this.source = null;
      setTimeout(() => this.look(), Math.min(30_000, 1000 * 2 ** this.tries++));
    };
  }

  end() {
    this.over = true;
    this.source?.close();
    this.source = null;
  }

  /** @param {{text?: string, base64?: string, next?: string, phase?: string, n?: number, attempt?: {ended?: string}, activation?: {outcome: string}}} out */
  take(out) {
    const bytes = out.base64 ? Uint8Array.from(atob(out.base64), (c) => c.charCodeAt(0)) : encoder.encode(out.text ?? "");
    const up = this.box.scrollTop < -4; // the end is at 0
    const before = this.box.scrollHeight;
    const key = `${out.phase}.${out.n}`;
    if (out.phase && !this.next.startsWith(key + ".")) this.begin(out.phase, out.n ?? 0, key);
    if (bytes.length > 0 && out.next) this.add(key, bytes, Number(out.next.split(".").at(-1)));
    if (up) this.box.scrollTop -= this.box.scrollHeight - before;
    if (out.activation?.outcome || out.attempt?.ended && this.state.dataset.stream?.includes("&attempt=")) this.end();
  }

  /** Begins the output of another attempt.
   * @param {string} phase
   * @param {number} n
   * @param {string} key */
  begin(phase, n, key) {
    const head = document.createElement("div");
    head.className = "attempt";
    head.textContent = `${phase}, attempt ${n}`;
    this.lines.append(head);
    this.next = key + ".0";
    this.n = 0;
    this.rest = new Uint8Array();
    this.pen = new Pen();
  }

  /** @param {string} key of the attempt
   * @param {Uint8Array} piece
   * @param {number} end where it ends */
  add(key, piece, end) {
    this.lines.querySelector("[data-open]")?.remove();
    const bytes = new Uint8Array(this.rest.length + piece.length);
    bytes.set(this.rest);
    bytes.set(piece, this.rest.length);
    const rows = document.createDocumentFragment();
    let from = 0, place = Math.max(0, end - bytes.length);
    for (let i; (i = bytes.indexOf(10, from)) >= 0; from = i + 1) rows.append(this.row(key, place + from, bytes.subarray(from, i), this.pen, false));
    this.rest = bytes.slice(from);
    this.next = `${key}.${place + from}`;
    if (this.rest.length > 0) rows.append(this.row(key, place + from, this.rest, Object.assign(new Pen(), this.pen), true));
    while (rows.childElementCount > most) rows.firstElementChild?.remove();
    for (let over = this.lines.childElementCount + rows.childElementCount - most; over > 0; over--) this.lines.firstElementChild?.remove();
    this.lines.append(rows);
  }

  /** @param {string} key
   * @param {number} at
   * @param {Uint8Array} bytes
   * @param {Pen} pen
   * @param {boolean} open */
  row(key, at, bytes, pen, open) {
    const row = document.createElement("div");
    row.id = `${key}-${at}`;
    row.toggleAttribute("data-open", open);
    const link = document.createElement("a");
    link.textContent = this.n >= 0 ? String(this.n + 1) : `@${at}`;
    if (!open && this.n >= 0) this.n++;
    link.href = `${this.link}log=${key}&at=${at}#${row.id}`;
    link.tabIndex = -1;
    link.setAttribute("aria-label", `Link to line ${link.textContent}`);
    row.append(link);
    paint(row, decoder.decode(bytes), pen);
    return row;
  }
}

/** @type {Log | null} */
let log = null;

function look() {
  const box = document.querySelector(".log.ends"), state = document.querySelector("#log-state");
  if (!(box instanceof HTMLElement) || !(state instanceof HTMLElement)) return;
  if (log?.box !== box) { log?.end(); log = new Log(box, state); }
  if (log.over && state.hasAttribute("data-live")) log.over = false; // it runs again
  log.state = state;
  log.look();
}
look();
document.addEventListener("refreshed", look);
document.addEventListener("visibilitychange", look);
