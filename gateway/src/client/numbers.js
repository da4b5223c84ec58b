// What JavaScript changes when it reads JSON and prints it again: integers beyond 2^53, and the order of keys that are
// numbers. Both are kept beside the values that were read, and printed as they came.
//
// A node says what is kept of a value: the text of an integer, or a Map from keys to nodes, whose `order` are all keys
// of an object that JavaScript would put into another order.

const INTEGER = /^-?\d{16,}$/;
const SUSPECT = /\d{16}|"\d+"\s*:/; // text without these needs no second look
const INDEX = /^(?:0|[1-9]\d{0,9})$/;
const INDEX_MAX = 4_294_967_294; // of the keys that JavaScript puts first

const nodes = new WeakMap(); // by object or list

export const isChanged = (text) => text.length > 15 && INTEGER.test(text) && String(Number(text)) !== text;
const isObject = (value) => typeof value === 'object' && value !== null;

// As JSON.parse; what it changes is kept for the objects and lists that it returns.
export function read(text) {
  const value = JSON.parse(text);
  if (SUSPECT.test(text)) keep(value, nodeOf(text));
  return value;
}

// What is kept of an object or list that `read` has returned or `keep` was told of; undefined for most.
export const kept = (value) => (isObject(value) ? nodes.get(value) : undefined);

// Notes what to keep of a value, for copies that others have made.
export function keep(value, node) {
  if (!(node instanceof Map) || !isObject(value)) return;
  nodes.set(value, node);
  for (const [key, inner] of node) keep(value[key], inner);
}

// As JSON.stringify, with what is kept in the place of what JavaScript has made of it. A number that is another one by
// now is printed as it is.
export function print(value, node = kept(value)) {
  if (node === undefined) return JSON.stringify(value);
  if (typeof node === 'string') return Number(node) === value ? node : JSON.stringify(value);
  if (!isObject(value) || typeof value.toJSON === 'function') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item, index) => print(item, node.get(String(index))) ?? 'null').join()}]`;
  const members = [];
  for (const key of keysOf(value, node.order)) {
    const text = print(value[key], node.get(key));
    if (text !== undefined) members.push(`${JSON.stringify(key)}:${text}`);
  }
  return `{${members.join()}}`;
}

// The same object with integers that JavaScript changes as text: what a person or an address is to see.
export function shown(object, node = kept(object)) {
  if (!(node instanceof Map)) return object;
  const texts = [...node].filter(([key, text]) => typeof text === 'string' && Number(text) === object[key]);
  return { ...object, ...Object.fromEntries(texts) };
}

function keysOf(value, order) {
  if (!order) return Object.keys(value);
  return new Set([...order.filter((key) => Object.hasOwn(value, key)), ...Object.keys(value)]);
}

// What is to be kept of a valid JSON text.
function nodeOf(text) {
  const open = []; // objects and lists around the current place: {keys, isKeyNext, index, node}
  let container = null;
  let found;
  const put = (node) => {
    if (!container) found = node;
    else (container.node ??= new Map()).set(container.keys?.at(-1) ?? String(container.index), node);
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === '"') {
      const end = stringEnd(text, at);
      if (container?.isKeyNext) {
        container.keys.push(keyIn(text, at, end));
        container.isKeyNext = false;
      }
      at = end;
    } else if (char === '{' || char === '[') {
      open.push(container);
      container = { keys: char === '{' ? [] : null, isKeyNext: char === '{', index: 0, node: undefined };
    } else if (char === '}' || char === ']') {
      const { keys, node } = container;
      container = open.pop();
      if (keys && isReordered(keys)) put(Object.assign(node ?? new Map(), { order: keys }));
      else if (node) put(node);
    } else if (char === ',') {
      container.index += 1;
      container.isKeyNext = container.keys !== null;
    } else if (char === '-' || (char >= '0' && char <= '9')) {
      const end = numberEnd(text, at);
      const number = text.slice(at, end);
      if (isChanged(number)) put(number);
      at = end - 1;
    }
  }
  return found;
}

// The place of the quote that ends a string.
function stringEnd(text, start) {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let before = end;
    while (text[before - 1] === '\\') before -= 1;
    if ((end - before) % 2 === 0) return end;
  }
}

function numberEnd(text, start) {
  let end = start + 1;
  while ('0123456789.eE+-'.includes(text[end] ?? ' ')) end += 1;
  return end;
}

function keyIn(text, start, end) {
  const inner = text.slice(start + 1, end);
  return inner.includes('\\') ? JSON.parse(text.slice(start, end + 1)) : inner;
}

// JavaScript has keys that are numbers first, the smallest first.
function isReordered(keys) {
  let last = -1;
  for (const key of keys) {
    const index = key[0] <= '9' && INDEX.test(key) && Number(key) <= INDEX_MAX ? Number(key) : Infinity;
    if (index < last) return true;
    last = index;
  }
  return false;
}
