// A page for tests of the scripts: the DOM of jsdom, in node's own globals.

import { JSDOM } from 'jsdom';

const NAMES = [
  'EventTarget', 'window', 'document', 'location', 'history', 'Node', 'Document', 'Element', 'HTMLElement', 'HTMLFormElement', 'Event', 'CustomEvent',
  'MouseEvent', 'KeyboardEvent', 'FormData', 'navigator', 'DOMParser', 'MutationObserver', 'XMLHttpRequest',
];

const { window: dom } = new JSDOM('<!DOCTYPE html><html><head></head><body></body></html>', { url: 'http://page.test/', pretendToBeVisual: true });
for (const name of NAMES) define(name, dom[name]);
// jsdom lacks it; this is enough for the names in tests.
define('CSS', { escape: (text) => String(text).replace(/[^\w-]/g, (character) => `\\${character}`) });

/** Shows another page: this is its body. Modules that listen to the document go on doing so. */
export function page(html = '', path = '/') {
  dom.history.replaceState(null, '', path);
  document.head.innerHTML = '';
  document.body.innerHTML = html;
}

function define(name, value) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

/** The first element that a selector finds. @returns {any} */
export const find = (selector, root = document) => root.querySelector(selector);

/** What an element tells when a person uses it. */
export const fire = (element, type, init = {}) =>
  element.dispatchEvent(new (type.startsWith('key') ? KeyboardEvent : Event)(type, { bubbles: true, cancelable: true, ...init }));

/** The markup of a component. */
export const component = (id, html, { state = {}, listeners = {} } = {}) =>
  `<div diff:id="${id}" diff:class="${id}" diff:state='${JSON.stringify(state)}' diff:listeners='${JSON.stringify(listeners)}'`
  + ` diff:fingerprint="f" diff:signature="s" data-diffyne-component>${html}</div>`;
