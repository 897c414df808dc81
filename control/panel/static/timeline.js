// The keys of the timeline: up and down go from row to row, left and right along a row, Home and End to
// its ends; Enter opens what has the focus, Escape goes back to the row's name, T shows the table. One
// row at a time is in the order of Tab. Without this file each bar is a link like any other.

const tables = document.querySelector("#to-table");
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, textarea, select, dialog");
  if (event.key.toLowerCase() !== "t" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const to = document.querySelector("#to-table");
  if (to instanceof HTMLAnchorElement && to === tables) location.href = to.href;
});

const chart = document.querySelector("#tl");
const said = document.querySelector("#inspect");
const hint = said?.textContent ?? "";

/** What can have the focus in a row: its name, its bars, and free stretches that can be booked.
 * @param {Element | null | undefined} row
 * @returns {(HTMLElement | SVGElement)[]} */
function stops(row) { return row ? [...row.querySelectorAll("a")] : []; }

/** Stops in the order in which they stand: free stretches are between bars.
 * @param {Element | null | undefined} row */
function placed(row) {
  const at = stops(row).map((stop) => ({ stop, x: stop.getBoundingClientRect().left }));
  return at.sort((a, b) => a.x - b.x).map(({ stop }) => stop);
}

/** @returns {Element[]} */
function rows() { return chart ? [...chart.querySelectorAll(".tl-row")] : []; }

/** The row that Tab goes through. */
let here = "";
function rove() {
  const all = rows();
  const at = all.find((row) => row.id === here) ?? all[0];
  here = at?.id ?? "";
  for (const row of all) {
    for (const stop of stops(row)) stop.setAttribute("tabindex", row === at ? "0" : "-1");
  }
}

/** Shows what a bar says, and the other bars of the same reservation.
 * @param {Element | null} bar */
function tell(bar) {
  const id = bar?.getAttribute("data-id");
  for (const other of chart?.querySelectorAll("a[data-id]") ?? []) {
    if (id && other.getAttribute("data-id") === id) other.classList.add("same");
    else if (other.classList.contains("same")) other.removeAttribute("class");
  }
  if (said) said.textContent = bar?.getAttribute("aria-label") ?? hint;
}

/** @param {EventTarget | null} target */
const barOf = (target) => target instanceof Element ? target.closest(".tl-lane a") : null;

/** Of the stops of another row, the one above or below.
 * @param {(HTMLElement | SVGElement)[]} list
 * @param {Element} from */
function nearest(list, from) {
  if (from.matches(".tl-name") || list.length < 2) return list[0];
  const middle = (/** @type {Element} */ e) => { const box = e.getBoundingClientRect(); return (box.left + box.right) / 2; };
  const x = middle(from);
  return list.slice(1).reduce((best, stop) => Math.abs(middle(stop) - x) < Math.abs(middle(best) - x) ? stop : best);
}

/** @param {KeyboardEvent} event */
function move(event) {
  if (!(event.target instanceof Element) || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const row = event.target.closest(".tl-row"), all = rows();
  const list = placed(row), r = row ? all.indexOf(row) : -1;
  const i = list.findIndex((stop) => stop === event.target);
  /** @type {HTMLElement | SVGElement | undefined} */
  let to;
  switch (event.key) {
    case "ArrowRight": to = list[i + 1]; break;
    case "ArrowLeft": to = list[i - 1]; break;
    case "ArrowDown": to = nearest(placed(all[r + 1]), event.target); break;
    case "ArrowUp": to = nearest(placed(all[r - 1]), event.target); break;
    case "Home": case "Escape": to = list[0]; break;
    case "End": to = list.at(-1); break;
    default: return;
  }
  if (!to || i < 0 && event.key !== "ArrowDown") return; // the browser scrolls
  event.preventDefault();
  to.focus();
  to.scrollIntoView({ block: "nearest", inline: "nearest" });
}

if (chart instanceof HTMLElement) {
  rove();
  document.addEventListener("refreshed", () => { rove(); tell(barOf(document.activeElement)); });
  chart.addEventListener("keydown", move);
  chart.addEventListener("focusin", (event) => {
    const row = event.target instanceof Element ? event.target.closest(".tl-row") : null;
    if (row && row.id !== here) { here = row.id; rove(); }
    tell(barOf(event.target));
  });
  chart.addEventListener("focusout", () => tell(null));
  chart.addEventListener("pointerover", (event) => tell(barOf(event.target) ?? barOf(document.activeElement)));
  chart.addEventListener("pointerleave", () => tell(barOf(document.activeElement)));
}
