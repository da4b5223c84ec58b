// Finds the directives on the page's elements, as they come, change and go: `diff:NAME.modifier="value"`.

import { attribute as valueOf, attributes, isConnected, nodeType, queryAll, removeAttribute } from './dom.js';

const PREFIX = 'diff:';
const HOOK = 'data-diffyne-hook';
// Attributes of a component's wrapper, and directives that are read where they are needed.
const OTHERS = 'id class name state fingerprint listeners signature params key model progress confirm target ignore on stream slot island render';

const isDirective = (name) => name.startsWith(PREFIX) || name === HOOK;

export class Directives {
  #kinds = new Map(OTHERS.split(' ').map((name) => [name, null]));
  #attached = new Map(); // by element, then by attribute: {value, detach}
  #loading = new Set(); // promises of `addRare`
  #otherwise;

  // otherwise(found): what attaches a directive whose name is no other one's
  constructor(otherwise) {
    this.#otherwise = otherwise;
    // What the page's styles hide by diff:cloak until its directives are there.
    this.add('cloak', ({ element }) => { this.#reveal(element); });
  }

  // attach(found) gets {element, attribute, name, modifiers, value}, and may return what ends it: when the element
  // is gone, or the attribute has another value.
  add(name, attach) {
    this.#kinds.set(name, attach);
  }

  // As `add`, for what few pages have: `load()` brings what attaches it, when there is one.
  addRare(name, load) {
    let loading = null;
    this.add(name, (found) => {
      let isOver = false;
      let detach;
      loading ??= load();
      this.#loading.add(loading);
      loading.then((attach) => { if (!isOver) detach = attach(found); }, (error) => {
        loading = null;
        console.error(`diffyne: diff:${name} could not be loaded`, error);
      });
      return () => { isOver = true; detach?.(); };
    });
  }

  // Looks at a part of the page.
  scan(root) {
    if (nodeType(root) === 1) this.#look(root);
    for (const element of queryAll(root, '*')) this.#look(element);
  }

  // Looks at what has changed.
  /** @param {MutationRecord[]} changes */
  update(changes) {
    let isRemoved = false;
    for (const { type, target, attributeName, addedNodes, removedNodes } of changes) {
      if (type === 'attributes') {
        if (isDirective(attributeName)) this.#look(/** @type {Element} */ (target));
        continue;
      }
      isRemoved ||= removedNodes.length > 0;
      for (const node of addedNodes) if (nodeType(node) === 1 && isConnected(node)) this.scan(node);
    }
    if (!isRemoved) return;
    for (const [element, attached] of this.#attached) {
      if (isConnected(element)) continue;
      this.#attached.delete(element);
      for (const { detach } of attached.values()) detach?.();
    }
  }

  async #reveal(element) {
    // Until the page was looked at.
    await Promise.resolve();
    await Promise.allSettled(this.#loading);
    removeAttribute(element, 'diff:cloak');
  }

  #look(element) {
    if (!isConnected(element)) return;
    const attached = this.#attached.get(element);
    for (const [attribute, { value, detach }] of attached ?? []) {
      if (valueOf(element, attribute) === value) continue;
      attached.delete(attribute);
      detach?.();
    }
    for (const { name, value } of attributes(element)) {
      if (isDirective(name) && !attached?.has(name)) this.#attach(element, name, value);
    }
  }

  #attach(element, attribute, value) {
    const [name, ...modifiers] = attribute === HOOK ? ['hook'] : attribute.slice(PREFIX.length).split('.');
    const attach = this.#kinds.has(name) ? this.#kinds.get(name) : this.#otherwise;
    if (!attach) return;
    const attached = this.#attached.get(element) ?? new Map();
    this.#attached.set(element, attached);
    attached.set(attribute, { value });
    attached.get(attribute).detach = attach({ element, attribute, name, modifiers, value });
  }
}
