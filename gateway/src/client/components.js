// The components of the page: hydrated where they appear, loaded where they are lazy, forgotten when they are gone.

import { WRAPPER, attribute, isConnected, queryAll, wrapperOf } from './dom.js';
import { listenersOf, parseJson } from './page.js';

export class Components {
  #byId = new Map();
  #known = new WeakMap(); // by root
  #hooks;
  #load;

  // load(root, data): the answer to a mount
  constructor(hooks, load) {
    this.#hooks = hooks;
    this.#load = load;
  }

  get(id) {
    return this.#byId.get(id);
  }

  all() {
    return this.#byId.values();
  }

  // The component that an element belongs to.
  ownerOf(node) {
    const wrapper = wrapperOf(node);
    return wrapper ? this.get(attribute(wrapper, 'diff:id')) : undefined;
  }

  // Looks for components that came or went.
  look() {
    for (const root of queryAll(document, WRAPPER)) this.#hydrate(root);
    for (const [id, { root }] of this.#byId) if (!isConnected(root)) this.#forget(id);
  }

  replace(old, fresh) {
    this.#forget(old.getAttribute('diff:id'));
    old.replaceWith(fresh);
    this.look();
  }

  #forget(id) {
    const component = this.get(id);
    this.#byId.delete(id);
    this.#hooks.emit('removed', { id, component });
  }

  #hydrate(root) {
    const id = root.getAttribute('diff:id');
    if (this.get(id)?.root === root) return;
    const known = this.#known.get(root);
    if (known) {
      // The same part of the page, which was away.
      this.#byId.set(id, known);
      this.#hooks.emit('init', { component: known, isBack: true });
      return;
    }
    if (root.hasAttribute('data-diffyne-lazy')) {
      this.#loadLazy(root, id);
      return;
    }
    this.#adopt(root, id, {
      state: parseJson(root.getAttribute('diff:state'), {}),
      fingerprint: root.getAttribute('diff:fingerprint'),
      signature: root.getAttribute('diff:signature'),
    });
  }

  #adopt(root, id, { state, fingerprint, signature }) {
    const className = root.getAttribute('diff:class');
    const component = { id, root, className, state, fingerprint, signature, listeners: listenersOf(root), running: new Set() };
    this.#known.set(root, component);
    this.#byId.set(id, component);
    this.#hooks.emit('init', { component });
  }

  async #loadLazy(root, id) {
    if (root.dataset.diffyneLazy === 'loading') return;
    root.dataset.diffyneLazy = 'loading';
    try {
      const { fill } = await import('./lazy.js');
      this.#adopt(root, id, await fill(root, id, this.#load));
    } catch (error) {
      root.dataset.diffyneLazy = 'failed';
      this.#hooks.emit('error', { component: { root, className: root.getAttribute('diff:class') }, error });
    }
  }
}
