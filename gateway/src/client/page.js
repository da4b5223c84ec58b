// What both scripts need to know of the page: its components, their listeners and transport, and how to refresh them.

import { read } from './numbers.js';
import { WRAPPER, closest, documentElement, listen, queryAll } from './dom.js';

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

export let isLeaving = false;

// The history has gone to another step, and the page is about to be loaded anew: answers that are still under way belong
// to the step before, and leave the address alone.
export const leaveQuery = (isGone = true) => { isLeaving = isGone; };

const PRESS_MS = 500; // answers wait for no longer

// Settles when the mouse's button or the finger is up again and its click was told: what an answer moved away between the two
// would get no click.
export let press;

let end;
listen('pointerdown', () => {
  press = new Promise((resolve) => { end = resolve; });
  setTimeout(end, PRESS_MS);
});
// The click of a tap comes some milliseconds after its finger is up.
listen('pointerup', ({ pointerType }) => end && setTimeout(end, pointerType === 'touch' ? 100 : 0));

// The address of the WebSocket: `ws:` on an https page would be refused by the browser.
export function socketUrl(address) {
  if (!address) return null;
  const url = new URL(address, location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  if (location.protocol === 'https:') url.protocol = 'wss:';
  return url.href;
}

// What this tab remembers, where it may remember anything.
/** @param {string} name @param {string} [value] */
export function stored(name, value) {
  try {
    if (value !== undefined) sessionStorage.setItem(name, value);
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

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

// Fetches the page once more: what does it is loaded when something was missed.
/** @param {(old: any, fresh: any) => void} replace @param {Element} [broken] */
export const refresh = async (replace, broken) => (await import('./refresh.js')).refresh(replace, broken);
