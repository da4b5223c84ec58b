// Streams: lists of which the server sends what changes. Items are found by their diff:key. What the user looks at stays
// where it is, whatever comes or goes above it.

import { own } from './dom.js';
import { hold } from './typing.js';

// The element of a component that holds a stream; not one of a component in it.
const containerOf = (root, name) => own(root, `[diff\\:stream="${CSS.escape(name)}"]`)[0];

// changes: {n: the stream's name} with one of insert: {key, at, html}, delete: key, keepFirst or keepLast: number, reset
// What is typed in an item that comes anew stays; fields of new items show the state.
export function applyStreams(root, changes, state) {
  const fields = hold(root, { sent: new Map(), state });
  const lists = new Map(); // by name
  for (const { n: name, ...change } of changes) {
    if (!lists.has(name)) lists.set(name, listOf(containerOf(root, name)));
    lists.get(name)?.apply(change);
  }
  fields.release();
  for (const list of lists.values()) list?.stay();
}

function listOf(container) {
  if (!container) return null;
  const items = new Map([...container.children].map((item) => [item.getAttribute('diff:key'), item]));
  const stay = anchor(container);
  const forget = (item) => {
    items.delete(item.getAttribute('diff:key'));
    item.remove();
  };
  const apply = ({ insert, delete: key, keepFirst = Infinity, keepLast = Infinity, reset }) => {
    if (insert) put(container, items, insert);
    if (items.has(key)) forget(items.get(key));
    while (container.children.length > keepFirst) forget(container.lastElementChild);
    while (container.children.length > keepLast) forget(container.firstElementChild);
    if (reset) {
      items.clear();
      container.replaceChildren();
    }
  };
  return { apply, stay };
}

function put(container, items, { key, at, html }) {
  // Rows of a table are read as such only where they are to stand.
  const range = document.createRange();
  range.selectNodeContents(container);
  const item = range.createContextualFragment(html).firstElementChild;
  if (!item) return;
  const old = items.get(key);
  if (old) old.replaceWith(item);
  else container.insertBefore(item, at < 0 ? null : container.children[at] ?? null);
  items.set(key, item);
}

// Browsers keep what is looked at in its place, but not at the very start of a scrolled box, and Safari never does.
function anchor(container) {
  const box = scrolledBox(container);
  const start = box === document.scrollingElement ? 0 : box.getBoundingClientRect().top;
  const seen = [...container.children].filter((item) => item.getBoundingClientRect().bottom > start);
  const places = new Map(seen.map((item) => [item, item.getBoundingClientRect().top]));
  return () => {
    const item = seen.find((other) => other.isConnected);
    const moved = item ? item.getBoundingClientRect().top - places.get(item) : 0;
    if (moved) box.scrollTop += moved;
  };
}

function scrolledBox(element) {
  for (let box = element; box; box = box.parentElement) {
    if (/auto|scroll/.test(getComputedStyle(box).overflowY)) return box;
  }
  return document.scrollingElement ?? document.documentElement;
}
