// data-diffyne-hook="Chart": a script of the page looks after an element, by what it has given to
// diffyne.hook('Chart', { mounted() {}, updated() {}, destroyed() {} }).

const CALLBACKS = { morph: 'beforeUpdate', morphed: 'updated' };

// Returns what attaches hooks; `definitions` are by name, and `defined` is emitted for each that comes.
export function hook({ calls, components, definitions, hooks }) {
  const all = new Set();

  const tell = ({ instance }, callback) => {
    try {
      instance?.[callback]?.();
    } catch (error) {
      console.error(`diffyne: ${callback} of a hook failed`, error);
    }
  };
  const mount = (one) => {
    const { element, value } = one;
    if (one.instance || !definitions.has(value)) return;
    const component = components.ownerOf(element);
    const call = (method, ...params) => component && calls.call(component, { method, params });
    one.instance = Object.assign(Object.create(definitions.get(value)), { element, component, call });
    tell(one, 'mounted');
  };
  for (const [name, callback] of Object.entries(CALLBACKS)) {
    hooks.on(name, ({ component }) => { for (const one of all) if (components.ownerOf(one.element) === component) tell(one, callback); });
  }
  document.addEventListener('diffyne:connection', (event) => {
    const { state } = /** @type {CustomEvent} */ (event).detail;
    const callback = { open: 'reconnected', closed: 'disconnected' }[state];
    if (callback) for (const one of all) tell(one, callback);
  });
  hooks.on('defined', () => all.forEach(mount));
  return ({ element, value }) => {
    const one = { element, value, instance: null };
    all.add(one);
    mount(one);
    return () => { all.delete(one); tell(one, 'destroyed'); };
  };
}
