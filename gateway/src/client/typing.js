// Fields and the state of their component: which fields are ahead of what the server knows, what they say, and what an
// answer does to them. What the user types is newer than any answer that was on its way.
//
// A field is ahead when it shows something else than what the server was last told of it, whoever has changed it: a key,
// a browser that fills in a form or restores it, or a reset. So what is shown is what is sent.

import { activeElement, attribute, contains, focusOn, isConnected, listen, localName, own, queryAll, selectionOf, wrapperOf } from './dom.js';
import { choose, fieldsIn, isChoice, isField, modelOf, propertyOf, rawOf, says, setRaw, show, untouched } from './field.js';

// By field: `raw`, what it showed when the server knew of it, and `value`, what the state held then.
const told = new WeakMap();
/** @type {(field: any, value: any, raw?: any) => any} */
const tell = (field, value, raw = rawOf(field)) => told.set(field, { raw, value });

/** Whether a field shows what the server has not been told. */
export const isAhead = (field) => told.has(field) && told.get(field).raw !== rawOf(field);

let composed = null; // the field into which an input method types
let changed = null; // the field of the last change that the browser has told

// Half a number, as `-`: a browser shows it and says nothing of it, so it is not sent.
const isMute = (field) => field.validity?.badInput;

const inState = (field, state) => Object.hasOwn(state, propertyOf(field));

/** Fields that the browser has filled in or restored, or the user has changed: what each shows. */
export const touchedOf = (fields) =>
  new Map(fields.filter((field) => rawOf(field) !== untouched(field)).map((field) => [field, rawOf(field)]));

/** The fields of a new component show its state, but for those that were touched before: they are ahead of it. */
export function meet(root, state, touched = touchedOf(fieldsIn(root))) {
  const fields = fieldsIn(root).filter((field) => !told.has(field) && inState(field, state));
  for (const field of fields) settleAt(field, state[propertyOf(field)]);
  for (const field of fields) if (touched.has(field) && touched.get(field) !== rawOf(field)) showAgain(field, touched.get(field));
}

/** The fields of a component whose value the server is to hear at once. What a browser, a reset or a script has changed
 * is told as if somebody had done it by hand. */
export const unheardIn = (root) =>
  fieldsIn(root).filter((field) => isAhead(field) && (isChoice(field) || modelOf(field).live || modelOf(field).lazy));

/**
 * Calls `review` when fields may have changed without a word: they were reset, restored for a page that is shown again,
 * finished by an input method, or left after they were made anew, of which a browser tells no change.
 */
export function whenChanged(review) {
  const soon = () => setTimeout(review);
  listen('reset', soon);
  listen('compositionend', ({ target }) => modelOf(target)?.live && soon());
  listen('focusout', ({ target }) => target !== changed && modelOf(target)?.lazy && soon());
  window.addEventListener('pageshow', soon);
}

/** What the fields say that are ahead: {property: value}. */
export function edits(root, state) {
  const found = {};
  for (const field of fieldsIn(root)) {
    const property = propertyOf(field);
    if (!inState(field, state) || Object.hasOwn(found, property) || !isAhead(field) || isMute(field)) continue;
    const value = says(field, state[property]);
    // Of radio buttons none is chosen any more: the state has one all the same.
    if (value === undefined) settleAt(field, told.get(field).value);
    else found[property] = value;
  }
  return found;
}

const submitted = new WeakMap(); // by form: what it has said in the call that is under way

/** Makes the call of a form, unless one that says the same is under way: somebody has pressed its button twice. */
export async function submitOnce(form, said, call) {
  if (submitted.get(form) === said) return;
  submitted.set(form, said);
  await call();
  if (submitted.get(form) === said) submitted.delete(form);
}

/**
 * What fields show when a message leaves: all that it takes along, or those of one property.
 * @param {string} [property]
 */
export const snapshot = (root, property) =>
  new Map(fieldsIn(root).filter((field) => property === undefined || propertyOf(field) === property).map((field) => [field, rawOf(field)]));

/**
 * Holds the fields of a component while an answer is applied. `sent` is the snapshot of the message, `state` the state of
 * the answer, `updated` the property if it was an update. `isKept(field)` says which fields patches leave alone;
 * `release()` makes the fields show the state, but for those that are ahead of it.
 */
export function hold(root, { sent, state, updated = undefined }) {
  const before = new Map(fieldsIn(root).map((field) => [field, rawOf(field)]));
  const meanings = new Map([...before.keys()].map((field) => [field, meaningOf(field)]));
  const isOther = (field) => meanings.has(field) && (!isField(field) || meaningOf(field) !== meanings.get(field));
  const ahead = new Map(); // what these fields show is newer than the answer
  const knownRaw = (field) => sent.get(field) ?? told.get(field)?.raw;
  // What is half a number or a word that an input method has not finished stays for the rest to be typed.
  for (const [field, raw] of before) {
    if (field === composed || isMute(field) || (knownRaw(field) !== undefined && raw !== knownRaw(field))) ahead.set(field, raw);
  }
  const focusAgain = focusIn(root);
  const isKept = (field) => (ahead.has(field) && !isOther(field)) || (isField(field) && wrapperOf(field) === root && inState(field, state));
  const release = () => {
    const lost = [...ahead].filter(([field]) => !contains(root, field) || wrapperOf(field) !== root || isOther(field));
    // An element that patches have bound to something else begins anew.
    for (const field of meanings.keys()) if (isOther(field)) [before, sent, told].forEach((known) => known.delete(field));
    lost.forEach(([field]) => ahead.delete(field));
    for (const [field, raw] of lost) {
      const heir = heirOf(root, field, (other) => !told.has(other), meanings.get(field));
      if (heir) ahead.set(heir, raw);
    }
    for (const field of fieldsIn(root)) {
      if (!inState(field, state)) continue;
      const value = state[propertyOf(field)];
      const known = ahead.has(field) ? (isMute(field) && told.get(field)?.raw) || knownRaw(field) : undefined;
      if (known === undefined && !isLeftAlone(field, value, { before, updated })) show(field, value);
      tell(field, value, known);
    }
    for (const [field, raw] of ahead) {
      if (rawOf(field) !== raw) showAgain(field, raw);
      // The option that was chosen is gone.
      if (rawOf(field) !== raw) settleAt(field, told.get(field)?.value);
    }
    focusAgain();
  };
  return { isKept, release };
}

// Whether somebody is typing in a field that the answer would only spell in another way: `1.0` as 1. It shows the state
// when it is left.
function isLeftAlone(field, value, { before, updated }) {
  if (field !== activeElement() || isChoice(field) || !before.has(field)) return false;
  const [raw, text] = [rawOf(field).trim(), String(value ?? '').trim()];
  if (rawOf(field) !== before.get(field)) return false;
  const known = told.get(field);
  if (known && known.raw === rawOf(field) && known.value === value) return true;
  if (raw === text || (raw !== '' && text !== '' && Number(raw) === Number(text))) return true;
  // An update whose answer empties the field means it; otherwise it is the server's form of what was typed.
  return updated === propertyOf(field) && (text !== '' || raw === '');
}

/** A field that is left shows the state, unless it is ahead of it. */
export function settle(field) {
  if (told.has(field) && !isAhead(field)) settleAt(field, told.get(field).value);
}

listen('focusout', ({ target }) => {
  composed = null;
  settle(target);
});
listen('compositionstart', ({ target }) => { composed = target; });
listen('compositionend', () => { composed = null; });
listen('change', ({ target }) => {
  changed = target;
  if (isField(target)) choose(target);
});

function settleAt(field, value) {
  show(field, value);
  tell(field, value);
}

/** Makes a field show what another one has shown. @type {(field: any, raw: any) => void} */
export function showAgain(field, raw) {
  const selection = field === activeElement() ? selectionOf(field) : null;
  setRaw(field, raw);
  if (selection) focusOn(field, selection);
}

// What a field is for: its property, and of a choice what it stands for.
const meaningOf = (field) => (['checkbox', 'radio'].includes(field.type) ? `${propertyOf(field)} ${field.value}` : propertyOf(field));

// What takes the place of a field that was removed: a field of the same kind, for the same.
/** @type {(root: any, field: any, isFree: (other: any) => boolean, meaning?: string) => any} */
export function heirOf(root, field, isFree, meaning = meaningOf(field)) {
  const isSame = (other) => isField(other) && isFree(other) && other.type === field.type && meaningOf(other) === meaning;
  const heirs = queryAll(root, localName(field)).filter(isSame);
  return heirs.find(({ id, name }) => id === field.id && name === field.name) ?? heirs[0];
}

/** Gives the focus back to what takes the place of the focused element, in the component or in another one that replaces it. */
export function focusIn(root) {
  const element = activeElement();
  if (!element || element === root || !contains(root, element)) return () => {};
  const selection = selectionOf(element);
  const meaning = isField(element) && meaningOf(element);
  return (place = root) => {
    if (isConnected(element) && (!meaning || (isField(element) && meaningOf(element) === meaning))) return;
    const heir = meaning ? heirOf(place, element, () => true, meaning) : namesake(place, element);
    if (heir) focusOn(heir, selection);
  };
}

function namesake(root, element) {
  const [id, name] = [attribute(element, 'id'), attribute(element, 'name')];
  const isSame = (other) => (id ? attribute(other, 'id') === id : Boolean(name) && attribute(other, 'name') === name);
  return own(root, localName(element)).find(isSame);
}
