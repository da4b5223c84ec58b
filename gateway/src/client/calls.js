// Calls of components, one at a time for each, and what their answers do to the page.

import { print, shown } from './numbers.js';
import { applyPatches } from './patches.js';
import { applyStreams } from './streams.js';
import { hold } from './typing.js';
import { syncModels } from './models.js';
import { showErrors } from './directives/error.js';
import { Queues } from './queue.js';

const HAND_OVER = '$async'; // the method that takes a value which came for an older state

export class Calls {
  #components;
  #hooks;
  #address;
  #send;
  #isNew;
  #queues = new Queues();

  // send(root, type, data, original): the answer; isNew(id): whether a broadcast is new to this page
  constructor({ components, hooks, address, send, isNew }) {
    this.#components = components;
    this.#hooks = hooks;
    this.#address = address;
    this.#send = send;
    this.#isNew = isNew;
    hooks.on('removed', ({ id }) => this.#queues.drop(id));
  }

  // Of equal calls with `merge` one waits: reactions to pushes and polls that wait see the same things.
  /**
   * @param {any} component
   * @param {{method: string, params: any[]}} action
   * @param {{cause?: any, merge?: boolean}} options
   */
  call(component, { method, params }, { cause, merge = Boolean(cause) } = {}) {
    const job = { run: () => this.#exchange(component, 'call', { method, params }, cause) };
    if (merge) Object.assign(job, { merge: 'any', key: `${method} ${print(params)}` });
    return this.#queues.add(component.id, job);
  }

  update(component, property, value) {
    const run = () => this.#exchange(component, 'update', { property, value });
    return this.#queues.add(component.id, { run, merge: 'last', key: property });
  }

  // An update whose value is what `valueNow` says when its turn comes.
  updateLater(component, property, valueNow) {
    const run = () => this.#exchange(component, 'update', { property, value: valueNow() });
    return this.#queues.add(component.id, { run });
  }

  // A value that comes after the answer of its call. A page that has gone on since hands it over with its newest state.
  value({ componentId, base, property, number, lost, ...response }) {
    const component = this.#components.get(componentId);
    if (!component) return;
    const params = lost ? [] : [property, number, response.c.st, response.c.sig];
    const run = async () => {
      if (!lost && component.fingerprint === base) this.#apply(component, response, (name) => component.state[name], undefined, 'call');
      else await this.#exchange(component, 'call', { method: HAND_OVER, params });
    };
    this.#queues.add(componentId, { run });
  }

  // Tells the components of the page what has happened.
  dispatch(events, cause) {
    for (const { name, params, to } of events) {
      for (const component of this.#components.all()) {
        if (to?.length && !to.includes(component.id)) continue;
        for (const method of component.listeners[name] ?? []) this.call(component, { method, params }, { cause });
        for (const place of component.root.querySelectorAll(`[diff\\:on\\.${CSS.escape(name)}]`)) {
          if (this.#components.ownerOf(place) !== component) continue;
          this.call(component, { method: place.getAttribute(`diff:on.${name}`), params }, { cause });
        }
      }
    }
  }

  async #exchange(component, type, what, cause) {
    const { id, root, className, fingerprint, signature } = component;
    // An update is verified: its state is what the server has signed. A call takes the user's edits along.
    const state = type === 'update' ? component.state : { ...component.state, ...component.edits };
    const data = { type, componentId: id, componentClass: className, ...what, state, fingerprint, signature };
    if (cause) data.cause = cause;
    const sent = (property) => (what.property === property ? what.value : state[property]);
    this.#hooks.emit('call', { component, type, ...what });
    try {
      this.#apply(component, await this.#send(root, type, data, component.state), sent, cause, type);
    } catch (error) {
      this.#hooks.emit('error', { component, error });
    } finally {
      this.#hooks.emit('answered', { component, type, ...what });
    }
  }

  #apply(component, response, sent, cause, type) {
    if (response.redirect) {
      this.#address.go(response.redirect);
      return;
    }
    if (response.c && this.#components.get(component.id) === component) this.#morph(component, response.c, sent, type);
    const ids = response.eventIds ?? [];
    const depth = cause ? cause.depth + 1 : 0;
    (response.events ?? []).forEach((event, index) => {
      const id = ids[index];
      if (!id) this.dispatch([event]);
      else if (this.#isNew(id)) this.dispatch([event], { id, depth });
    });
    for (const { name, data } of response.browserEvents ?? []) {
      window.dispatchEvent(new CustomEvent(name, { detail: data, bubbles: true, cancelable: true }));
    }
  }

  #morph(component, { p, st, f, sig, s, e, q }, sent, type) {
    const release = hold(component.root, sent);
    applyPatches(component.root, p);
    if (s) applyStreams(component.root, s);
    Object.assign(component, { state: st, fingerprint: f, signature: sig });
    syncModels(component);
    component.edits = release();
    showErrors(component.root, e ?? {});
    if (q) this.#address.setQuery(shown(q), type);
  }
}
