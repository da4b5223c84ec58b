// The client's parts, put together as on a page, with a server that the test plays.

import { Calls } from '../calls.js';
import { Components } from '../components.js';
import { Directives } from '../directives.js';
import { anyEvent } from '../directives/events.js';
import { Hooks } from '../hooks.js';

let observer;
const listening = []; // what the client of the test before listens to

/** Notes what a client listens to, and ends that of the one before. */
function listenAlone() {
  for (const [target, type, listener, options] of listening.splice(0)) target.removeEventListener(type, listener, options);
  for (const target of [document, window]) {
    target.addEventListener = (type, listener, options) => {
      listening.push([target, type, listener, options]);
      EventTarget.prototype.addEventListener.call(target, type, listener, options);
    };
  }
}

/**
 * Starts these directives on the page, {name: function}, besides those of events. `answer(type, data)` is what the
 * server answers; the calls it was asked for are in `sent`, redirects and query strings in `visits`.
 */
export function start(kinds, answer = /** @type {(type: string, data: any) => any} */ (() => ({}))) {
  listenAlone();
  const hooks = new Hooks();
  const sent = [];
  const visits = [];
  const send = async (root, type, data) => {
    sent.push({ type, ...data });
    return answer(type, data);
  };
  const address = { go: (redirect) => visits.push(redirect), setQuery: (values) => visits.push(values) };
  const components = new Components(hooks, (root, data) => send(root, 'mount', data));
  const calls = new Calls({ components, hooks, address, send, isNew: () => true });
  const client = { address, components, calls, definitions: new Map(), hooks, endpoint: '/_diffyne', sent, visits };
  const directives = new Directives(anyEvent(client));
  for (const [name, kind] of Object.entries(kinds)) {
    const attach = kind(client);
    if (attach) directives.add(name, attach);
  }
  const look = (changes) => {
    components.look();
    directives.update(changes);
  };
  components.look();
  directives.scan(document);
  observer?.disconnect();
  observer = new MutationObserver(look);
  observer.observe(document.documentElement, { attributes: true, childList: true, subtree: true });
  return client;
}

/** The client of the test before sees no more of the page. */
export const stop = () => observer?.disconnect();

/** Waits until what was begun has been done. */
export const settled = (ms = 0) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** An answer with these patches and this state. @type {(patches: any[], more?: any) => any} */
export const answer = (patches, { st = {}, ...more } = {}) => ({ s: true, c: { p: patches, st, f: 'f2', sig: 's2' }, ...more });

/** As `start`, and waits for what directives of events load when they need it. */
export async function started(kinds, answers) {
  const client = start(kinds, answers);
  await Promise.all([import('../directives/modifiers.js'), import('../confirm.js'), import('../parameters.js')]);
  await settled();
  return client;
}
