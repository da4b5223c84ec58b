// What both scripts need to know of the page: its components, their listeners and transport, and how to refresh them.

import { read } from './numbers.js';
import { WRAPPER, attributes, closest, documentElement, isConnected, own, parentNode, queryAll, wrapperOf } from './dom.js';
import { isTyping } from './typing.js';

export const parseJson = (text, otherwise) => {
  try {
    return read(text) ?? otherwise;
  } catch {
    return otherwise;
  }
};

// `{event: [methods]}`; PHP prints an empty one as a list.
export const listenersOf = (element) => {
  const listeners = parseJson(element.getAttribute('diff:listeners'), {});
  return Array.isArray(listeners) ? {} : listeners;
};

// Whether the page may be sent there: to http and https addresses and to paths, and never to a script.
export function isFollowed(url) {
  try {
    return ['http:', 'https:'].includes(new URL(url, location.href).protocol);
  } catch {
    return false;
  }
}

// Puts values into the page's query string. A click is a step that one can go back; typing changes the step that one is
// at, and what is there already is no step.
export function setQuery(values, type) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === '') url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  if (isLeaving || url.href === location.href) return;
  if (type === 'update') history.replaceState({ ...history.state, diffyne: true }, '', url);
  else history.pushState({ diffyne: true }, '', url);
}

let isLeaving = false;

// The history has gone to another step, and the page is about to be loaded anew: answers that are still under way belong
// to the step before, and leave the address alone.
export const leaveQuery = (isGone = true) => { isLeaving = isGone; };

// The address of the WebSocket: `ws:` on an https page would be refused by the browser.
export function socketUrl(address) {
  if (!address) return null;
  const url = new URL(address, location.href);
  if (url.protocol.startsWith('http')) url.protocol = url.protocol.replace('http', 'ws');
  if (location.protocol === 'https:') url.protocol = 'wss:';
  return url.href;
}

// Laravel's token against forged requests, where the page has one.
export const csrfToken = () => queryAll(document, 'meta[name="csrf-token"]')[0]?.getAttribute('content');

// The script tag that loaded a module.
export const scriptTag = (url) => queryAll(document, 'script').find(({ src }) => src === url);

// Whether a component's calls go by AJAX: it or something around it says so, or the script tag names it.
export function usesAjax(element, names) {
  const marked = closest(element, '[data-diffyne-transport]')?.dataset.diffyneTransport;
  if (marked) return marked === 'ajax';
  const className = element.getAttribute('diff:class') ?? '';
  return names.has(className) || names.has(className.split('\\').at(-1));
}

export const namesIn = (list) => new Set((list ?? '').split(',').map((name) => name.trim()).filter(Boolean));

// Tells what the page's components listen to, now and whenever components come or go.
// `more(element)` gives listeners that are not in its attributes.
/** @param {(element: Element) => object} more */
export function watchListeners(tell, more = () => ({})) {
  const look = () => {
    scheduled = false;
    const events = new Map();
    for (const element of queryAll(document, WRAPPER)) {
      const componentClass = element.getAttribute('diff:class');
      for (const name of Object.keys({ ...listenersOf(element), ...more(element) })) {
        events.set(`${name} ${componentClass}`, { name, componentClass });
      }
    }
    tell([...events.values()]);
  };
  let scheduled = false;
  const schedule = () => {
    if (!scheduled) queueMicrotask(look);
    scheduled = true;
  };
  const changes = { childList: true, subtree: true, attributes: true, attributeFilter: ['diff:listeners', 'data-diffyne-lazy'] };
  new MutationObserver(schedule).observe(documentElement(), changes);
  look();
}

// What has a directive in a component, with any modifiers: [{element, name}], `name` being the attribute's.
export const withAttribute = (root, start) =>
  own(root, '*').flatMap((element) =>
    [...attributes(element)].filter(({ name }) => name === start || name.startsWith(`${start}.`)).map(({ name }) => ({ element, name })));

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
      if (only || !isTyping(element)) replace(element, document.importNode(replacement, true));
      else element.addEventListener('focusout', () => refresh(replace), { once: true });
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
