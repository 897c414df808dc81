// Ticking many rows: all of a page, or with Shift all up to another one. How many are ticked is said.

/** @returns {HTMLInputElement[]} */
const boxes = () => [...document.querySelectorAll("#rows tbody input[name='id']")].filter((box) => box instanceof HTMLInputElement);

/** @type {string | null} */
let last = null; // the id that was ticked last

function count() {
  const all = boxes(), n = all.filter((box) => box.checked).length;
  const ticked = document.querySelector("#ticked"), head = document.querySelector("#tick-all");
  if (ticked) ticked.textContent = n > 0 ? ` (${n})` : "";
  if (head instanceof HTMLInputElement) {
    head.hidden = false;
    head.checked = n > 0 && n === all.length;
    head.indeterminate = n > 0 && n < all.length;
  }
}

document.addEventListener("click", (event) => {
  const box = event.target;
  if (!(box instanceof HTMLInputElement) || box.type !== "checkbox") return;
  const all = boxes();
  if (box.id === "tick-all") for (const each of all) each.checked = box.checked;
  if (box.name === "id") {
    const from = all.findIndex((each) => each.value === last), to = all.indexOf(box);
    if (event.shiftKey && from >= 0) for (const each of all.slice(Math.min(from, to), Math.max(from, to) + 1)) each.checked = box.checked;
    last = box.value;
  }
  count();
});
document.addEventListener("refreshed", count);
addEventListener("pageshow", count);
count();
