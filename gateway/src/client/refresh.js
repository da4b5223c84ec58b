// Brings a page up to date that has missed something, or whose patches could not be applied.

import { WRAPPER, activeElement, attribute, contains, isConnected, localName, nodeType, parentNode, queryAll, wrapperOf } from './dom.js';
import { isField, modelAttribute, rawOf, setRaw, untouched } from './field.js';
import { focusIn, heirOf, isAhead, showAgain } from './typing.js';

let refreshing = null;

// Something was missed: the page is fetched once more, and each component replaced by its new self, or that one alone
// which something is wrong with. `replace(old, fresh)` does that; a component that the user types in comes later.
/** @param {(old: any, fresh: any) => void} replace @param {Element} [broken] */
export function refresh(replace, broken) {
  if (refreshing) return refreshing.then(() => (broken && isConnected(broken) ? refresh(replace, broken) : undefined));
  refreshing = fetchPage()
    .then((page) => replaceAll(page, replace, broken && outermost(broken)))
    .catch((error) => console.warn('diffyne: the page could not be refreshed', error))
    .finally(() => { refreshing = null; });
  return refreshing;
}

async function fetchPage() {
  const response = await fetch(location.href, { headers: { Accept: 'text/html' }, cache: 'no-store' });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), 'text/html');
}

// A component within another one comes with it.
function outermost(root) {
  const around = isConnected(root) ? wrapperOf(parentNode(root)) : null;
  return around ? outermost(around) : root;
}

function replaceAll(page, replace, only) {
  const fresh = byClass(page);
  for (const [className, elements] of byClass(document)) {
    elements.forEach((element, index) => {
      const replacement = fresh.get(className)?.[index];
      if (!replacement || (only && element !== only)) return;
      if (only || !isTyping(element)) {
        const copy = document.importNode(replacement, true);
        carry(element, copy);
        carryOthers(element, copy);
        const focusAgain = focusIn(element);
        replace(element, copy);
        focusAgain(copy);
      } else element.addEventListener('focusout', () => refresh(replace), { once: true });
    });
  }
}

// Components that are in no other one; the others come with it.
function byClass(root) {
  const found = new Map();
  for (const element of queryAll(root, WRAPPER)) {
    if (wrapperOf(parentNode(element))) continue;
    const className = element.getAttribute('diff:class');
    found.set(className, [...(found.get(className) ?? []), element]);
  }
  return found;
}

// What the fields of a component show that are ahead is shown by those of the one that takes its place.
function carry(root, fresh) {
  const taken = new Set();
  for (const field of queryAll(root, 'input, textarea, select').filter((other) => isField(other) && isAhead(other))) {
    const className = attribute(wrapperOf(field), 'diff:class');
    const isFree = (other) => !taken.has(other) && attribute(wrapperOf(other), 'diff:class') === className;
    const heir = heirOf(fresh, field, isFree);
    if (!heir) continue;
    taken.add(heir);
    showAgain(heir, rawOf(field));
  }
}

// What was typed into fields without diff:model: it goes to those of the same id, name and place.
function carryOthers(root, fresh) {
  const heirs = new Map();
  for (const field of othersIn(fresh)) heirs.set(likeness(field), [...heirs.get(likeness(field)) ?? [], field]);
  for (const field of othersIn(root)) {
    const heir = heirs.get(likeness(field))?.shift();
    if (!heir || rawOf(field) === untouched(field)) continue;
    const was = rawOf(heir);
    setRaw(heir, rawOf(field));
    // The option that was chosen is gone.
    if (rawOf(heir) !== rawOf(field)) setRaw(heir, was);
  }
}

const FIELDS = ['input', 'textarea', 'select'];
const isOther = (element) => FIELDS.includes(localName(element)) && element.type !== 'file' && !modelAttribute(element);
const othersIn = (root) => queryAll(root, FIELDS.join()).filter(isOther);
const likeness = (field) => [localName(field), field.type, attribute(field, 'id'), attribute(field, 'name')].join(' ');

// Whether somebody is at work on a field of these.
function isTyping(root) {
  const field = activeElement();
  if (!field || nodeType(field) !== 1 || !contains(root, field)) return false;
  return isField(field) ? isAhead(field) : isOther(field) && rawOf(field) !== untouched(field);
}
