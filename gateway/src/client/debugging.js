// What the client does, in the console: calls with their answers and times, patches, failures.

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
    morph: ({ component, patches }) => console.debug(`diffyne: ${patches.length} patches for`, component.className, patches),
    error: ({ component, error }) => console.debug('diffyne: failed', component.className, error),
    navigated: ({ url }) => console.debug('diffyne: page', url),
  };
  const ends = Object.entries(listeners).map(([name, listener]) => hooks.on(name, listener));
  return () => ends.forEach((end) => end());
}

const STORE = 'diffyne:developer';
let end = null;

/** Does what a developer asks for, and what the tab has kept of it. */
export function develop(developer, change, hooks) {
  try {
    Object.assign(developer, JSON.parse(sessionStorage.getItem(STORE) ?? '{}'), change);
    sessionStorage.setItem(STORE, JSON.stringify(developer));
  } catch {
    // Then it ends with the page.
    Object.assign(developer, change);
  }
  end?.();
  end = developer.debug ? startDebugging(hooks) : null;
}
