// Calls of components, one at a time for each, and what their answers do to the page.

import { attribute, isConnected, islandOf, own } from './dom.js';
import { propertyOf } from './field.js';
import { print, shown } from './numbers.js';
import { applyPatches } from './patches.js';
import { edits, hold, snapshot } from './typing.js';
import { showErrors } from './directives/error.js';
import { Queues } from './queue.js';

// What applies the islands of an answer, if it has any. Where that cannot be loaded, the page fetches the component.
/** @type {(response: any) => any} */
const partsOf = ({ c }) => c?.islands && import('./islands.js').catch((error) => ({ applyIslands: () => [error] }));

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
   * @param {{method: string, params: any[], island?: string}} action
   * @param {{cause?: any, merge?: boolean}} options
   */
  call(component, action, { cause, merge = Boolean(cause) } = {}) {
    const job = { run: () => this.#exchange(component, 'call', action, cause) };
    if (merge) Object.assign(job, { merge: 'any', key: `${action.method} ${print(action.params)}` });
    return this.#queues.add(component.id, job);
  }

  // Runs if no other call of the component does, and keeps none waiting. Whether its answer counts: the answer to a call
  // that came meanwhile is the newer one.
  async poll(component, action) {
    if (this.#queues.isBusy(component.id)) return false;
    const job = { yields: true, isOvertaken: false, run: () => this.#exchange(component, 'call', action, null, job) };
    await this.#queues.add(component.id, job);
    return !job.isOvertaken;
  }

  // Sends what the fields of this one's property say when the update's turn comes, unless the server knows it by then: a call may
  // have taken it along.
  updateField(component, field, property = propertyOf(field)) {
    const run = async () => {
      const said = edits(component.root, component.state);
      if (Object.hasOwn(said, property)) await this.#exchange(component, 'update', { property, value: said[property], island: islandOf(field) });
    };
    return this.#queues.add(component.id, { run, merge: 'last', key: property });
  }

  // An update whose value is what `valueNow` says when its turn comes.
  updateLater(component, property, valueNow) {
    const run = () => this.#exchange(component, 'update', { property, value: valueNow() });
    return this.#queues.add(component.id, { run });
  }

  // A value that comes after the answer of its call. A page that has gone on since hands it over with its newest state, to
  // the method `$async`.
  value({ componentId, base, property, number, lost, ...response }) {
    const component = this.#components.get(componentId);
    if (!component) return;
    const params = lost ? [] : [property, number, response.c.st, response.c.sig];
    const run = async () => {
      const parts = await partsOf(response);
      if (!lost && component.fingerprint === base) await this.#apply(component, response, { type: 'call', sent: new Map(), parts });
      else await this.#exchange(component, 'call', { method: '$async', params });
    };
    this.#queues.add(componentId, { run });
  }

  // Tells the components of the page what has happened.
  dispatch(events, cause) {
    for (const { name, params, to } of events) {
      for (const component of this.#components.all()) {
        if (to?.length && !to.includes(component.id)) continue;
        for (const method of component.listeners[name] ?? []) this.call(component, { method, params }, { cause });
        for (const place of own(component.root, `[diff\\:on\\.${CSS.escape(name)}]`)) {
          this.call(component, { method: attribute(place, `diff:on.${name}`), params }, { cause });
        }
      }
    }
  }

  async #exchange(component, type, what, cause, poll) {
    const { id, root, className, fingerprint, signature } = component;
    // An update is verified: its state is what the server has signed. A call takes along what fields say.
    const state = type === 'update' ? component.state : { ...component.state, ...edits(root, component.state) };
    const data = { type, componentId: id, componentClass: className, ...what, state, fingerprint, signature };
    if (cause) data.cause = cause;
    if (poll) data.background = true;
    const sent = snapshot(root, what.property);
    const page = document.body;
    // Nobody waits for it who looks at the page.
    const call = { component, type, ...what, isQuiet: Boolean(cause || poll) };
    component.running.add(call);
    this.#hooks.emit('call', call);
    try {
      const response = await this.#send(root, type, data, component.state);
      // Before it is known whether the answer still counts: a call may begin meanwhile.
      const parts = await partsOf(response);
      if (poll?.isOvertaken) delete response.c;
      // Somebody has gone to another page since.
      if (page !== document.body) delete response.redirect;
      await this.#apply(component, response, { type, sent, updated: what.property, cause, parts });
    } catch (error) {
      this.#hooks.emit('error', { component, error });
    } finally {
      component.running.delete(call);
      this.#hooks.emit('settled', call);
    }
  }

  /** @param {any} component @param {any} response @param {{type: string, sent: Map<any, any>, updated?: string, cause?: any, parts?: any}} message */
  async #apply(component, response, message) {
    if (response.redirect) {
      this.#address.go(response.redirect);
      return;
    }
    // One that is on a page to which somebody may come back goes on as well.
    if (response.c && (this.#components.get(component.id) ?? component) === component) await this.#morph(component, response.c, message);
    const ids = response.eventIds ?? [];
    const depth = message.cause ? message.cause.depth + 1 : 0;
    (response.events ?? []).forEach((event, index) => {
      const id = ids[index];
      if (!id) this.dispatch([event]);
      else if (this.#isNew(id)) this.dispatch([event], { id, depth });
    });
    for (const { name, data } of response.browserEvents ?? []) {
      window.dispatchEvent(new CustomEvent(name, { detail: data, bubbles: true, cancelable: true }));
    }
  }

  /** @param {any} component @param {any} answer @param {{type: string, sent: Map<any, any>, updated?: string, parts?: any}} message */
  async #morph(component, { p, islands, st, f, sig, s, e, q }, { type, sent, updated, parts }) {
    const { root } = component;
    this.#hooks.emit('morph', { component, patches: p, islands });
    const fields = hold(root, { sent, updated, state: shown(st) });
    const faults = applyPatches(root, p, fields.isKept);
    if (parts) faults.push(...parts.applyIslands(root, islands, fields.isKept));
    Object.assign(component, { state: st, fingerprint: f, signature: sig });
    fields.release();
    // For copies of the page, as Turbo and htmx make: they begin with what this one has come to.
    root.setAttribute('diff:state', print(st));
    root.setAttribute('diff:fingerprint', f ?? '');
    root.setAttribute('diff:signature', sig ?? '');
    this.#hooks.emit('morphed', { component });
    showErrors(root, e ?? {});
    if (q && isConnected(root)) await this.#address.setQuery(shown(q), type);
    if (faults.length) this.#hooks.emit('broken', { component, faults });
    if (s) await import('./streams.js').then(({ applyStreams }) => applyStreams(root, s, shown(st)));
  }
}
