// What every page has: the theme and the zone of the browser, questions in a dialog, keys, and the
// page kept up to date. Without it everything works, too, by loading pages.
import { follow, returns } from "./live.js";
import { morph } from "./morph.js";

const base = document.body.dataset.base ?? "";
const main = /** @type {HTMLElement} */ (document.querySelector("#main"));
const news = /** @type {HTMLElement} */ (document.querySelector("#news"));
const live = /** @type {HTMLElement} */ (document.querySelector("#live"));

/** Writes a time as the page does: in its zone, which is that of its clock.
 * @param {string} time */
function hour(time) {
  const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)$/.exec(document.querySelector("#clock-now time")?.getAttribute("datetime") ?? "") ?? ["", "+", "0", "0"];
  return new Date(Date.parse(time) + Number(`${sign}1`) * (Number(hours) * 60 + Number(minutes)) * 60_000).toISOString().slice(11, 16);
}

/** Says something for a while, where nobody looks, types or has the focus.
 * @param {string} text */
function say(text) {
  news.textContent = text;
  setTimeout(() => { if (news.textContent === text) news.textContent = ""; }, 8000);
}

// The page as it is now, into the page that is there.
let loading = false, again = false;
async function refresh() {
  if (document.hidden && !tells()) return;
  if (loading) { again = true; return; }
  loading = true;
  try {
    const reply = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
    if (reply.type === "opaqueredirect") { location.reload(); return; } // the session is over
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const next = page.querySelector("#main");
    if (next) {
      next.querySelector("#said")?.remove();
      const said = main.querySelector("#said"); // it stays until somebody goes to another page
      if (said) next.prepend(said.cloneNode(true));
      morph(main, next);
      const clock = page.querySelector("#clock-now");
      if (clock) document.querySelector("#clock-now")?.replaceWith(clock);
      document.title = page.title;
      main.dispatchEvent(new CustomEvent("refreshed", { bubbles: true }));
      count();
    }
  } catch { /* the stream says that the daemon cannot be reached */ } finally {
    loading = false;
    if (again) { again = false; refresh(); }
  }
}

// A change soon brings others: they are shown together.
let due = 0;
function soon() { due ||= window.setTimeout(() => { due = 0; refresh(); }, 400); }

const topics = new Set((main.dataset.topics ?? "").split(" ").filter(Boolean));
if (topics.size > 0) {
  live.hidden = false;
  follow(base, {
    event(topic) { if (topics.has("*") || topics.has(topic.split(".")[0])) soon(); },
    gap() { say("Some changes were missed; the page was loaded again."); soon(); },
    state(on, since) {
      live.toggleAttribute("data-off", !on);
      live.textContent = on ? "Live" : `Reconnecting${since ? `, last change ${hour(since)}` : ""}`;
      if (on) soon(); // what happened meanwhile
    },
  });
}
// Who comes back to a page sees it as it is now.
if (topics.size > 0) {
  document.addEventListener("visibilitychange", () => refresh());
  returns(() => refresh());
}
setInterval(() => { if (topics.size > 0) soon(); }, 60_000); // "in 14 min" becomes "in 13 min"

/** Asks a question in a dialog; its address has the same question as a page of its own.
 * @param {string} address */
async function question(address) {
  const reply = await fetch(address, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  const ask = page.querySelector("#ask");
  if (!reply.ok || !ask) { location.href = address; return; }
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "asked");
  dialog.append(ask);
  dialog.addEventListener("click", (e) => {
    if (e.target instanceof Element && e.target.closest("[data-no]")) { e.preventDefault(); dialog.close(); }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[data-ask]") : null;
  if (!(link instanceof HTMLAnchorElement) || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  question(link.href);
});
document.addEventListener("submit", (event) => { // about several things
  const { submitter, target } = event;
  if (!(submitter instanceof HTMLButtonElement) || !submitter.hasAttribute("data-ask") || !(target instanceof HTMLFormElement)) return;
  event.preventDefault();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(target, submitter)) query.append(name, String(value));
  question(`${submitter.formAction}?${query}`);
});

// Menus close when something else is pressed, and with Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (event.target instanceof Node && !menu.contains(event.target)) menu.removeAttribute("open");
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.removeAttribute("open");
      menu.querySelector("summary")?.focus();
    }
  }
  const typing = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const find = document.querySelector("#match") ?? document.querySelector("#find");
    if (find instanceof HTMLInputElement) { event.preventDefault(); find.focus(); find.select(); }
  }
});

const zone = document.querySelector("#own-zone");
if (zone instanceof HTMLButtonElement) {
  zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
  zone.hidden = [...document.querySelectorAll("button[name=zone]")].some((other) => other !== zone && other instanceof HTMLButtonElement && other.value === zone.value);
}

// Notifications, if somebody asks for them. One tab of a browser sends them: the one that has the
// lock, which the next one gets when that tab is closed. It counts also while nobody looks at it.
const bell = document.querySelector("#notify");
let teller = false, known = -1;
function tells() { return teller && Notification.permission === "granted"; }

/** What has come since the last time is told. */
function count() {
  const now = Number(main.dataset.needs ?? "-1");
  if (tells() && document.hidden && known >= 0 && now > known) {
    new Notification("activationd", { body: now === 1 ? "One thing needs attention" : `${now} things need attention`, tag: "needs" });
  }
  known = now;
}

if ("Notification" in window && "locks" in navigator && main.dataset.needs !== undefined) {
  navigator.locks.request(`needs of ${base || "/"}`, () => {
    teller = true;
    if (document.hidden) soon(); else count(); // what it has seen may be old
    return new Promise(() => {});
  });
  if (bell instanceof HTMLButtonElement) {
    bell.hidden = Notification.permission !== "default";
    bell.addEventListener("click", async () => {
      await Notification.requestPermission();
      bell.hidden = true;
      say(Notification.permission === "granted" ? "You will be notified while this page is open, and you look at another one." : "This browser does not allow notifications from here.");
    });
  }
}
