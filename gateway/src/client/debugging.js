// What the client does, in the console: calls with their answers and times, patches, failures.

import { parseJson, stored } from './page.js';

const words = ({ component, type, method, params, property, value }) =>
  (type === 'update' ? [`${component.className}.${property} =`, value] : [`${component.className}.${method}`, ...params ?? []]);

// Returns a function that ends it.
export function startDebugging(hooks) {
  const begun = new WeakMap();
  const listeners = {
    init: ({ component }) => console.debug('diffyne: new', component.className, component.id, component.state),
    removed: ({ id }) => console.debug('diffyne: gone', id),
    call: (call) => { begun.set(call, performance.now()); console.debug('diffyne: →', ...words(call)); },
    settled: (call) => console.debug('diffyne: ←', ...words(call), `${Math.round(performance.now() - begun.get(call))} ms`),
    morph: ({ component, patches, islands }) => {
      const all = [...patches, ...Object.values(islands ?? {}).flat()];
      console.debug(`diffyne: ${all.length} patches for`, component.className, ...Object.keys(islands ?? {}), all);
    },
    error: ({ component, error }) => console.debug('diffyne: failed', component.className, error),
    navigated: ({ url }) => console.debug('diffyne: page', url),
  };
  const ends = Object.entries(listeners).map(([name, listener]) => hooks.on(name, listener));
  return () => ends.forEach((end) => end());
}

const STORE = 'diffyne:developer';

// What developers have asked for in this tab: lines in the console, and calls that take longer.
export function develop(hooks) {
  const wishes = parseJson(stored(STORE) ?? '', {});
  const ask = (change) => stored(STORE, JSON.stringify(Object.assign(wishes, change)));
  let end = null;
  const debug = (on) => {
    ask({ debug: on });
    end?.();
    end = on ? startDebugging(hooks) : null;
  };
  if (wishes.debug) debug(true);
  const slow = () => wishes.latency && new Promise((resolve) => { setTimeout(resolve, wishes.latency); });
  return { debug, latency: (ms) => ask({ latency: ms }), slow };
}
