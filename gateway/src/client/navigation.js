// Exchanges the page for another one without loading it: title, head and body, scripts once, history and scroll.

import { csrfToken } from './ajax.js';
import { leaveQuery } from './page.js';

const KEPT_MAX = 10; // pages that Back finds as they were
const PREFETCHED_MAX = 10;
const FRESH_MS = 30_000; // what was fetched ahead is shown for so long
const STYLES_MS = 3_000; // the next page waits so long for its styles

const newKey = () => Math.random().toString(36).slice(2);

export class Navigation {
  #hooks;
  #shown;
  #kept = new Map(); // by key: {body, head, title, scroll}
  #prefetched = new Map(); // by address: {at, page}
  #key = newKey();
  #visit = 0;
  #scripts = new Set([...document.scripts].map(scriptId)); // that have run

  // shown(): the address is now that of the page that is shown
  constructor(hooks, shown) {
    this.#hooks = hooks;
    this.#shown = shown;
    this.#mark();
  }

  // Shows the page at an address of this site.
  async visit(address) {
    const url = new URL(address, location.href);
    if (!announce('navigate', { url: url.href, isBack: false })) return;
    const page = await this.#load(url);
    if (!page) return;
    const reached = new URL(page.url);
    reached.hash ||= url.hash;
    // As browsers do: the same address once more is no step that one could go back.
    const isSame = reached.href === location.href;
    if (!isSame) {
      this.#keep(page);
      this.#mark({ scroll: [window.scrollX, window.scrollY] });
    }
    this.#key = newKey();
    history[isSame ? 'replaceState' : 'pushState']({ diffyne: true, page: this.#key }, '', reached);
    await this.#show(page);
    const place = placeOf(location.hash.slice(1));
    if (place) place.scrollIntoView();
    else window.scrollTo(0, 0);
    this.#arrived(false);
  }

  // Fetches what is likely to be visited next.
  prefetch(address) {
    const { href } = new URL(address, location.href);
    const known = this.#prefetched.get(href);
    if (known && Date.now() - known.at < FRESH_MS) return;
    this.#prefetched.delete(href);
    this.#prefetched.set(href, { at: Date.now(), page: fetchPage(href) });
    known?.page.catch(() => {});
    this.#prefetched.get(href).page.catch(() => this.#prefetched.delete(href));
    if (this.#prefetched.size > PREFETCHED_MAX) this.#prefetched.delete(this.#prefetched.keys().next().value);
  }

  // The history has gone to another step. Whether that was one of ours.
  travel(state, isOtherPage) {
    if (!state?.page || state.page === this.#key) return false;
    const kept = this.#kept.get(state.page);
    if (!kept && !isOtherPage) {
      this.#key = state.page;
      return false;
    }
    if (!announce('navigate', { url: location.href, isBack: true })) return true;
    this.#keep(headNow());
    this.#key = state.page;
    this.#goBack(kept).catch(() => location.reload());
    return true;
  }

  async #goBack(kept) {
    if (kept) {
      this.#visit += 1;
      this.#kept.delete(this.#key);
      const token = csrfToken();
      mergeHead(kept.head);
      // The newest is the one that counts.
      document.querySelector('meta[name="csrf-token"]')?.setAttribute('content', token ?? '');
      document.title = kept.title;
      document.body.replaceWith(kept.body);
      this.#shown();
      window.scrollTo(...kept.scroll);
    } else {
      leaveQuery();
      const page = await this.#load(new URL(location.href)).finally(() => leaveQuery(false));
      if (!page) return;
      await this.#show(page);
      window.scrollTo(...history.state?.scroll ?? [0, 0]);
    }
    this.#arrived(true);
  }

  // The page at an address; null if another visit has begun meanwhile. What is no page of this site is loaded.
  async #load(url) {
    this.#visit += 1;
    const visit = this.#visit;
    const root = document.documentElement;
    root.setAttribute('data-diffyne-navigating', '');
    try {
      const ahead = this.#prefetched.get(url.href.split('#')[0]);
      this.#prefetched.clear();
      const isFresh = ahead && Date.now() - ahead.at < FRESH_MS;
      const page = await (isFresh ? ahead.page : fetchPage(url.href));
      if (visit !== this.#visit) return null;
      const isOther = [...page.document.scripts].some((script) => isOurs(script) && !this.#scripts.has(script.src));
      if (isOther) throw new Error('it has another release of this script');
      const before = headNow();
      await mergeHead(page.document.head);
      return visit === this.#visit ? { ...page, ...before } : null;
    } catch (error) {
      if (visit !== this.#visit) return null;
      console.warn('diffyne: a page could not be fetched, so it is loaded', error);
      location.assign(url);
      return null;
    } finally {
      if (visit === this.#visit) root.removeAttribute('data-diffyne-navigating');
    }
  }

  async #show({ document: page }) {
    for (const name of ['lang', 'dir']) {
      const value = page.documentElement.getAttribute(name);
      if (value === null) document.documentElement.removeAttribute(name);
      else document.documentElement.setAttribute(name, value);
    }
    document.title = page.title;
    document.body.replaceWith(document.adoptNode(page.body));
    this.#shown();
    await this.#runScripts();
    /** @type {HTMLElement} */ (document.querySelector('[autofocus]'))?.focus();
  }

  // A script with an address runs once. One that stands in the head, or says so, runs once; one in the body whenever
  // its page has been fetched.
  async #runScripts() {
    const nonce = document.querySelector('script[nonce]')?.['nonce'];
    for (const script of document.querySelectorAll('script')) {
      const isPage = script.closest('body') && !script.src && !script.hasAttribute('data-navigate-once');
      const id = scriptId(script);
      if (!/^(|module|importmap|.*\/(java|ecma)script)$/.test(script.type)) continue;
      if (this.#scripts.has(id) && !isPage) continue;
      this.#scripts.add(id);
      const fresh = document.createElement('script');
      for (const { name, value } of script.attributes) fresh.setAttribute(name, value);
      if (nonce) fresh.nonce = nonce;
      fresh.text = script.text;
      const done = script.src && new Promise((resolve) => { fresh.onload = fresh.onerror = resolve; });
      script.replaceWith(fresh);
      await done;
    }
  }

  // Keeps the page that is shown, for Back, with the head that it had.
  #keep({ head, title }) {
    this.#kept.set(this.#key, { body: document.body, head, title, scroll: [window.scrollX, window.scrollY] });
    if (this.#kept.size > KEPT_MAX) this.#kept.delete(this.#kept.keys().next().value);
  }

  // The step of the history is that of the page that is shown.
  #mark(more = {}) {
    history.replaceState({ ...history.state, diffyne: true, page: this.#key, ...more }, '');
  }

  #arrived(isBack) {
    announce('navigated', { url: location.href, isBack });
    this.#hooks.emit('navigated', { url: location.href, isBack });
  }
}

// The element that the end of an address names, as browsers find it.
function placeOf(hash) {
  if (!hash) return null;
  const name = decodedOf(hash);
  return document.getElementById(hash) ?? document.getElementById(name) ?? document.querySelector(`a[name="${CSS.escape(name)}"]`);
}

function decodedOf(hash) {
  try {
    return decodeURIComponent(hash);
  } catch {
    return hash;
  }
}

const headNow = () => ({ head: /** @type {HTMLElement} */ (document.head.cloneNode(true)), title: document.title });

const scriptId = (script) => script.src || script.text;

// Two of the client's scripts on one page would make each call twice.
const CLIENT = new URL('client.', import.meta.url).pathname;
const isOurs = ({ src }) => Boolean(src) && new URL(src).pathname.startsWith(CLIENT);

const announce = (name, detail) => document.dispatchEvent(new CustomEvent(`diffyne:${name}`, { detail, cancelable: name === 'navigate' }));

async function fetchPage(href) {
  const response = await fetch(href, { headers: { Accept: 'text/html', 'X-Diffyne-Navigate': '1' } });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  if (!response.headers.get('Content-Type')?.includes('html')) throw new Error('it is no page');
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  return { url: response.url || href, document: page };
}

// Takes over what a page has in its head. Scripts and styles stay; scripts that are new run later.
async function mergeHead(head) {
  const isAsset = (element) => element.matches('script, style, link[rel~="stylesheet"]');
  const spelled = (element) => { const copy = element.cloneNode(true); copy.removeAttribute('nonce'); return copy.outerHTML; };
  const here = new Map([...document.head.children].map((element) => [spelled(element), element]));
  const loading = [];
  for (const element of head.children) {
    const text = spelled(element);
    if (here.delete(text) || element.localName === 'title') continue;
    const added = document.importNode(element, true);
    document.head.append(added);
    if (added.matches('link[rel~="stylesheet"]')) loading.push(new Promise((resolve) => { added.onload = added.onerror = resolve; }));
  }
  for (const element of here.values()) if (!isAsset(element) && element.localName !== 'title') element.remove();
  if (loading.length) await Promise.race([Promise.all(loading), new Promise((resolve) => { setTimeout(resolve, STYLES_MS); })]);
}
