// How a field of a page is read and written: the table of docs/page-scripts.md, kind by kind. A field has `diff:model`,
// or a modifier of it; what its property holds decides with its type what it shows and what it says.

import { attributes, cloneNode, createElement, hasAttribute, insertBefore, localName, nodeType, own, resetForm, wrapperOf } from './dom.js';

const DEBOUNCE_MS = 150;
const ON = ['1', 'true', 'on', 'yes'];
const OFF = ['0', 'false', '', 'off', 'no'];
const isDirective = ({ name }) => name === 'diff:model' || name.startsWith('diff:model.');

/** The attribute that binds a field to a property. */
export const modelAttribute = (field) => [...(attributes(field) ?? [])].find(isDirective);

/** What a field is bound to; null where it is to nothing. A file field has no value of its own: it is uploaded. */
export function modelOf(field) {
  const found = nodeType(field) === 1 ? modelAttribute(field) : null;
  if (!found) return null;
  const [, ...modifiers] = found.name.split('.');
  const [, number = DEBOUNCE_MS, unit] = /^(\d+)(ms|s)?$/.exec(modifiers[modifiers.indexOf('debounce') + 1]) ?? [];
  const debounceMs = Number(number) * (unit === 's' ? 1_000 : 1);
  return { property: found.value, live: modifiers.includes('live'), lazy: modifiers.includes('lazy'), debounceMs };
}

/** Whether an element is a field whose value belongs to the state. */
export const isField = (element) =>
  nodeType(element) === 1 && ['input', 'textarea', 'select'].includes(localName(element)) && element.type !== 'file' && Boolean(modelAttribute(element));

/** The fields of a component, without those of components within it. @returns {any[]} */
export const fieldsIn = (root) => own(root, 'input, textarea, select').filter(isField);

/** Whether a field says something by being chosen, rather than by what is typed. */
export const isChoice = (field) => localName(field) === 'select' || ['checkbox', 'radio', 'file'].includes(field.type);

/** The property of a field. */
export const propertyOf = (field) => modelAttribute(field).value;

// Fields of the same kind and property: radio buttons and checkboxes speak together.
function fellows(field) {
  const root = wrapperOf(field);
  return root ? fieldsIn(root).filter((other) => propertyOf(other) === propertyOf(field) && other.type === field.type) : [];
}

// Whether an option, a radio button or a checkbox stands for a value.
function standsFor(text, value) {
  if (value === null || value === undefined) return text === '';
  if (typeof value === 'boolean') return (value ? ON : OFF).includes(text.toLowerCase());
  if (typeof value === 'number') return text === String(value) || (text.trim() !== '' && Number(text) === value);
  return text === String(value);
}

// What a chosen text says, where the property holds this value: PHP would read `false` as true.
function said(text, value) {
  if (typeof value !== 'boolean' || text === '') return text;
  if (ON.includes(text.toLowerCase())) return true;
  return OFF.includes(text.toLowerCase()) ? false : text;
}

// An item that a list gets: one that it has had, or one like the others.
function item(text, list) {
  const known = list.find((other) => standsFor(text, other));
  if (known !== undefined) return known;
  const isNumber = list.length > 0 && list.every((other) => typeof other === 'number') && text.trim() !== '' && !Number.isNaN(Number(text));
  return isNumber ? Number(text) : text;
}

const listOf = (value) => (Array.isArray(value) ? value : value === null || value === undefined || value === '' ? [] : [value]);
const isOn = (value) => Boolean(value) && value !== '0';

// Each kind of field. `raw`: what it shows, as a text or a flag; `setRaw` shows it again. `show`: shows a value of the
// state. `says`: the value that it says, where the state holds `value`; undefined when it says nothing.
const KINDS = {
  text: {
    raw: (field) => field.value,
    setRaw: (field, raw) => { field.value = raw; },
    // What no text stands for is left alone.
    show: (field, value) => {
      const text = String(value ?? '');
      if (field.value !== text && (typeof value !== 'object' || value === null)) field.value = text;
    },
    says: (field) => field.value,
  },
  // One checkbox: on or off. One with a value of its own on a text: that value, or nothing.
  flag: {
    raw: (field) => field.checked,
    setRaw: (field, raw) => { field.checked = raw; },
    show: (field, value) => { field.checked = isWord(field, value) ? field.value === value : isOn(value); },
    says: (field, value) => {
      if (isWord(field, value)) return field.checked ? field.value : '';
      if (value === '0' || value === '1') return field.checked ? '1' : '0';
      return typeof value === 'number' ? Number(field.checked) : field.checked;
    },
  },
  // A checkbox that adds its value to a list.
  member: {
    raw: (field) => field.checked,
    setRaw: (field, raw) => { field.checked = raw; },
    show: (field, value) => { field.checked = listOf(value).some((other) => standsFor(field.value, other)); },
    says: (field, value) => {
      const boxes = fellows(field);
      const list = listOf(value);
      // What has no checkbox here stays in the list.
      const others = list.filter((other) => !boxes.some((box) => standsFor(box.value, other)));
      const chosen = boxes.filter((box) => box.checked).map((box) => item(box.value, list));
      return [...others, ...new Set(chosen)];
    },
  },
  radio: {
    raw: (field) => field.checked,
    setRaw: (field, raw) => { field.checked = raw; },
    show: (field, value) => { field.checked = standsFor(field.value, value); },
    says: (field, value) => {
      const chosen = fellows(field).find((other) => other.checked);
      return chosen && said(chosen.value, value);
    },
  },
  select: {
    raw: (field) => (field.selectedIndex < 0 ? null : field.value),
    setRaw: (field, raw) => { field.value = raw; },
    show: (field, value) => {
      const texts = [...field.options].map((option) => option.value);
      const exact = texts.indexOf(String(value ?? ''));
      field.selectedIndex = exact >= 0 ? exact : texts.findIndex((text) => standsFor(text, value));
    },
    says: (field, value) => (field.selectedIndex < 0 ? undefined : said(field.value, value)),
  },
  several: {
    raw: (field) => JSON.stringify([...field.selectedOptions].map((option) => option.value)),
    setRaw: (field, raw) => {
      const texts = JSON.parse(raw);
      for (const option of field.options) option.selected = texts.includes(option.value);
    },
    show: (field, value) => {
      for (const option of field.options) option.selected = listOf(value).some((other) => standsFor(option.value, other));
    },
    says: (field, value) => [...field.selectedOptions].map((option) => item(option.value, listOf(value))),
  },
};

// A checkbox whose value is a word, on a property that holds words.
const isWord = (field, value) =>
  typeof value === 'string' && !['0', '1'].includes(value) && hasAttribute(field, 'value') && !['', '1', 'on', 'true'].includes(field.value);

/** @param {any} [value] */
function kindOf(field, value) {
  if (localName(field) === 'select') return field.multiple ? KINDS.several : KINDS.select;
  if (field.type === 'radio') return KINDS.radio;
  if (field.type !== 'checkbox') return KINDS.text;
  return Array.isArray(value) ? KINDS.member : KINDS.flag;
}

/** What a field shows: a text or a flag, the same as long as it shows the same. */
export const rawOf = (field) => kindOf(field).raw(field);

/** Makes a field show what it, or another one of its kind, has shown. */
export const setRaw = (field, raw) => kindOf(field).setRaw(field, raw);

/** Makes a field show a value of the state. */
export const show = (field, value) => kindOf(field, value).show(field, value);

/** A radio button was chosen: those of its property that a browser does not know as one group with it are not. */
export function choose(field) {
  if (field.type !== 'radio' || !field.checked) return;
  for (const other of fellows(field)) if (other !== field) other.checked = false;
}

/** What a field says, where its property holds `value`; undefined when it says nothing. */
export function says(field, value) {
  // Several checkboxes on nothing make a list.
  const isList = (value === null || value === undefined) && field.type === 'checkbox' && fellows(field).length > 1;
  return kindOf(field, isList ? [] : value).says(field, value);
}

/** What a field would show if nobody had touched it: what its browser makes of its attributes and texts. */
export function untouched(field) {
  const form = createElement('form');
  const copy = cloneNode(field, true);
  insertBefore(form, copy, null);
  resetForm(form);
  return rawOf(copy);
}
