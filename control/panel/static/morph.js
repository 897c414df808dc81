// Replaces what an element has by what another one has, and keeps what is the same: the focus, the
// selection, what is typed, what is open, and where things are scrolled to. Elements are the same if
// they have the same id, or else the same name at the same place.

/** @param {Element} to
 * @param {Element} from */
export function morph(to, from) {
  attributes(to, from);
  children(to, from);
}

/** What a person has done to an element is not in its attributes.
 * @type {Record<string, string[]>} */
const kept = { DETAILS: ["open"], DIALOG: ["open"] };

/** @param {Element} to
 * @param {Element} from */
function attributes(to, from) {
  const keep = kept[to.tagName] ?? [];
  for (const { name } of [...to.attributes]) {
    if (!from.hasAttribute(name) && !keep.includes(name) && !(name === "class" && to.matches(".same"))) to.removeAttribute(name);
  }
  for (const { name, value } of [...from.attributes]) {
    if (!keep.includes(name) && to.getAttribute(name) !== value) to.setAttribute(name, value);
  }
}

/** @param {Node} a
 * @param {Node} b */
function same(a, b) {
  if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName) return false;
  return !(a instanceof Element && b instanceof Element) || a.id === b.id;
}

/** @param {Element} to
 * @param {Element} from */
function children(to, from) {
  /** @type {Map<string, Element>} */
  const named = new Map();
  for (const child of to.children) if (child.id) named.set(child.id, child);
  let at = to.firstChild;
  for (const want of [...from.childNodes]) {
    const id = want instanceof Element ? want.id : "";
    /** @type {Node | null} */
    let have = id ? named.get(id) ?? null : at && !(at instanceof Element && at.id && named.has(at.id)) && same(at, want) ? at : null;
    if (have && !same(have, want)) have = null;
    if (!have) {
      to.insertBefore(document.importNode(want, true), at);
      continue;
    }
    if (have === at) at = at.nextSibling;
    else to.insertBefore(have, at);
    if (have instanceof Element && want instanceof Element) {
      named.delete(id);
      if (have.hasAttribute("data-keep")) continue; // a script of the page owns it
      const typed = have instanceof HTMLInputElement && (have === document.activeElement || have.value !== have.defaultValue);
      attributes(have, want);
      if (!typed) children(have, want);
      if (have instanceof HTMLInputElement && !typed) have.value = have.defaultValue;
    } else if (have.nodeValue !== want.nodeValue) {
      have.nodeValue = want.nodeValue;
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.parentNode?.removeChild(at);
    at = next;
  }
}
