// The page's address: redirects, query strings, and the steps of the history.

import { leaveQuery, setQuery } from './page.js';

const withoutHash = () => location.href.split('#')[0];

export class Address {
  #shown = withoutHash();

  constructor() {
    window.addEventListener('popstate', () => {
      // Another place on the same page is not another page.
      if (withoutHash() === this.#shown) return;
      leaveQuery();
      location.reload();
    });
  }

  setQuery(values, type) {
    setQuery(values, type);
    this.#shown = withoutHash();
  }

  // Follows a redirect.
  async go({ url, spa }) {
    if (!spa || new URL(url, location.href).origin !== location.origin) {
      location.assign(url);
      return;
    }
    try {
      const response = await fetch(url, { headers: { Accept: 'text/html', 'X-Requested-With': 'XMLHttpRequest' } });
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const page = new DOMParser().parseFromString(await response.text(), 'text/html');
      document.title = page.title;
      document.body.replaceChildren(...page.body.childNodes);
      history.pushState({ diffyne: true }, '', response.url);
      this.#shown = withoutHash();
      window.scrollTo(0, 0);
    } catch (error) {
      console.warn('diffyne: a page could not be fetched, so it is loaded', error);
      location.assign(url);
    }
  }
}
