// The page's address: redirects, query strings, and the steps of the history.

import { leaveQuery } from './page.js';

const withoutHash = () => location.href.split('#')[0];

export class Address {
  #shown = withoutHash();
  #hooks;
  #navigation = null;

  constructor(hooks) {
    this.#hooks = hooks;
    window.addEventListener('popstate', ({ state }) => this.#travel(state));
  }

  // Few components have a property there.
  async setQuery(values, type) {
    const { setQuery } = await import('./query.js');
    setQuery(values, type);
    this.#shown = withoutHash();
  }

  // What exchanges pages: many have no use for it, so it is loaded when the first of its links has come.
  async navigation() {
    if (!this.#navigation) {
      const { Navigation } = await import('./navigation.js');
      this.#navigation ??= new Navigation(this.#hooks, () => { this.#shown = withoutHash(); });
    }
    return this.#navigation;
  }

  // Follows a redirect.
  async go({ url, spa }) {
    if (!spa || new URL(url, location.href).origin !== location.origin) {
      location.assign(url);
      return;
    }
    try {
      const navigation = await this.navigation();
      await navigation.visit(url);
    } catch {
      location.assign(url);
    }
  }

  #travel(state) {
    if (this.#navigation?.travel(state, withoutHash() !== this.#shown)) return;
    // Another place on the same page is not another page.
    if (withoutHash() === this.#shown) return;
    leaveQuery();
    location.reload();
  }
}
