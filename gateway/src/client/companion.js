// Stands beside an unmodified diffyne.js: one call at a time per component, a WebSocket that comes back, AJAX while
// there is none, and the broadcasts of everybody else.
//
//   <script type="module" src="/_diffyne/companion.js" data-url="wss://example.com/diffyne?key=..."></script>
//
// data-url: the WebSocket; without it diffyneConfig.wsUrl, unless the page is configured for AJAX
// data-ajax: names of components, comma separated, whose calls go by AJAX

import { Transport } from './transport.js';
import { Queues } from './queue.js';
import { isActionWithin, isFieldWithin, keepWithin, takePatches } from './companion-fields.js';
import { WRAPPER, announce, attribute, closest, own, queryAll } from './dom.js';
import { fieldsIn, isField, propertyOf, rawOf } from './field.js';
import { applyStreams } from './streams.js';
import { edits, hold, meet, snapshot, submitOnce, touchedOf, unheardIn, whenChanged } from './typing.js';
import { keep, kept, print, shown } from './numbers.js';
import { keepParams } from './params.js';
import { leaveQuery, namesIn, parseJson, refresh, scriptTag, socketUrl, usesAjax, watchListeners } from './page.js';
import { setQuery } from './query.js';


// What a browser shows in a file field. diffyne.js takes it for typed text, and would lose the files of a list.
const isFileName = (value) => typeof value === 'string' && value.startsWith('C:\\fakepath\\');

// What the server has said of the properties that fields show.
const known = ({ element, serverState }) =>
  Object.fromEntries(fieldsIn(element).map(propertyOf).filter((name) => Object.hasOwn(serverState, name)).map((name) => [name, serverState[name]]));

const tag = scriptTag(import.meta.url);
if (!Object.hasOwn(window, 'diffyneConfig')) window.diffyneConfig = {};
const config = window.diffyneConfig;
const configured = config.transport;
const ajaxNames = namesIn(tag?.dataset.ajax);

// An element whose id is `diffyne` is none.
const isStarted = () => Object.hasOwn(window, 'diffyne') && Boolean(window.diffyne?.transport);

// diffyne.js opens a WebSocket of its own as soon as it starts, if it is told to.
if (!isStarted()) config.transport = 'ajax';

// It also makes all fields show the state, those too that the browser has restored.
const touched = isStarted() ? new Map() : touchedOf(queryAll(document, 'input, textarea, select').filter(isField));

function attach(diffyne) {
  config.transport = configured;
  const queues = new Queues();
  const causes = new WeakMap(); // by event object
  const lazy = new Map(); // by component id: what a lazy component came with
  let cause = null; // of the calls that are being made right now
  /** @type {(params: any[]) => void} */
  let keepTheir = () => {}; // notes which numbers of their parameters to keep
  const states = new Map(); // by component id: what to keep of the state that the server has sent last

  // The package's Blade prints the key as it is, and a `+` in an address means a space.
  const printed = configured === 'ajax' ? null : config.wsUrl?.replaceAll('+', '%2B');
  const address = tag?.dataset.url ?? printed;
  const options = {
    url: socketUrl(address),
    endpoint: tag?.dataset.endpoint ?? config.endpoint ?? '/_diffyne',
    maxMessageSize: config.maxMessageSize || undefined,
  };
  const transport = new Transport(options, {
    pushed: (events, from) => {
      for (const event of events) causes.set(event, from);
      diffyne.eventManager.dispatchEvents(events);
    },
    missed: () => refresh(replace),
    valued: ({ componentId, property, number, lost, c }) =>
      diffyne.callMethod(componentId, '$async', lost ? [] : [property, number, c.st, c.sig]),
  });

  // ---- the transport ----

  const allAjax = configured === 'ajax';
  const byAjax = (element) => ({ ajax: element ? usesAjax(element, ajaxNames) || (allAjax && !isMarked(element)) : allAjax });
  const isMarked = (element) => Boolean(closest(element, '[data-diffyne-transport]'));

  async function send(payload) {
    const { componentId } = payload;
    const component = diffyne.registry.get(componentId);
    const job = queues.running(componentId);
    const data = job?.cause ? { ...payload, cause: job.cause } : { ...payload };
    if (component) {
      keep(component.serverState, stateNode(componentId, component.element));
      // diffyne.js goes on with what was typed in a field that was reset since.
      if (payload.type === 'call') data.state = { ...data.state, ...known(component), ...edits(component.element, component.serverState) };
    }
    const sent = component && snapshot(component.element, payload.type === 'update' ? payload.property : undefined);
    const how = { ...byAjax(component?.element), original: component?.serverState };
    const response = await transport.send(payload.type === 'update' ? 'update' : 'call', data, how);
    sortEvents(response, job?.cause);
    if (response.c) {
      states.set(componentId, kept(response.c.st));
      // diffyne.js would add a step to the history for every answer.
      if (response.c.q) setQuery(shown(response.c.q), payload.type);
      delete response.c.q;
    }
    if (component && job && response.c) {
      job.fields = hold(component.element, { sent, state: shown(response.c.st), updated: payload.property });
      job.streams = response.c.s;
      // They are not part of the tree that the patches are made for.
      for (const message of own(component.element, '.diffyne-error-message')) message.remove();
    }
    return response;
  }

  // Leaves out broadcasts that have been here already, and notes what the others may cause.
  function sortEvents(response, from) {
    const ids = response.eventIds ?? [];
    const depth = from ? from.depth + 1 : 0;
    response.events = response.events?.filter((event, index) => {
      if (!ids[index]) return true;
      causes.set(event, { id: ids[index], depth });
      return transport.isNew(ids[index]);
    });
  }

  async function loadLazy(componentClass, componentId, params, queryParams) {
    const [element] = queryAll(document, `[diff\\:id="${CSS.escape(componentId)}"]`);
    keep(params, kept(parseJson(element?.getAttribute('diff:params'), {})));
    const data = { componentClass, componentId, params, queryParams };
    const loaded = await transport.send('mount', data, byAjax(element));
    states.set(componentId, kept(loaded.state));
    lazy.set(componentId, { signature: loaded.signature, listeners: loaded.eventListeners ?? {} });
    return loaded;
  }

  const old = diffyne.transport.ws;
  if (old) {
    old.onclose = null;
    old.close();
    diffyne.transport.ws = null;
  }
  Object.assign(diffyne.transport, { send, sendAjax: send, sendWebSocket: send, loadLazy, connectWebSocket: () => {} });

  // ---- numbers ----

  // What to keep of a component's state; the first one is in the page.
  function stateNode(id, element) {
    if (!states.has(id)) states.set(id, kept(parseJson(element.getAttribute('diff:state'), {})));
    return states.get(id);
  }

  const { handleAction } = diffyne;

  // diffyne.js reads the parameters of `id(432224099704639488)` as JavaScript's numbers.
  if (handleAction) {
    diffyne.handleAction = (id, action, event) => {
      if (isActionWithin(id, event)) return undefined;
      const call = () => {
        keepTheir = (params) => keepParams(params, action);
        try {
          return handleAction.call(diffyne, id, action, event);
        } finally {
          keepTheir = () => {};
        }
      };
      const component = event?.type === 'submit' && diffyne.registry.get(id);
      return component ? submitOnce(event.target, print([action, fieldsIn(component.element).map(rawOf)]), call) : call();
    };
  }

  // ---- one call at a time ----

  const { callMethod, updateProperty, updateLocalState } = diffyne;
  const run = (id, work) => async (job) => {
    const component = diffyne.registry.get(id);
    // diffyne.js leaves the signature of a lazy component out.
    if (component && !component.signature) component.signature = lazy.get(id)?.signature;
    await work();
    if (!component || !job.fields) return;
    job.fields.release();
    if (job.streams) applyStreams(component.element, job.streams, shown(component.serverState));
    // diffyne.js takes one property of an update's answer. What fields say is part of the state that the next call takes
    // along.
    component.state = { ...structuredClone(component.serverState), ...edits(component.element, component.serverState) };
    if (job.faults?.length) refresh(replace, component.element);
  };
  diffyne.callMethod = (id, method, params = []) => {
    keepTheir(params);
    const job = { run: run(id, () => callMethod.call(diffyne, id, method, params)), cause };
    return queues.add(id, cause ? { ...job, merge: 'any', key: `${method} ${print(params)}` } : job);
  };
  diffyne.updateProperty = (id, property, value) =>
    isFileName(value) ? Promise.resolve()
      : queues.add(id, { run: run(id, () => updateProperty.call(diffyne, id, property, value)), merge: 'last', key: property });
  diffyne.updateLocalState = (id, property, value) => {
    if (!isFileName(value) && !isFieldWithin(id, property)) updateLocalState?.call(diffyne, id, property, value);
  };
  // What the fields of a property say when the call's turn comes, unless the server knows it by then: another call may
  // have taken it along.
  const tellField = (id, property) => {
    const work = async () => {
      const component = diffyne.registry.get(id);
      const said = component ? edits(component.element, component.serverState) : {};
      if (Object.hasOwn(said, property)) await updateProperty.call(diffyne, id, property, said[property]);
    };
    return queues.add(id, { run: run(id, work), merge: 'last', key: property });
  };
  diffyne.handleModelUpdate = (id, property) => (isFieldWithin(id, property) ? Promise.resolve() : tellField(id, property));

  takePatches(diffyne, { running: (id) => queues.running(id), meet: (element) => restore(element) });
  keepWithin(diffyne);
  const review = (element) => {
    for (const field of unheardIn(element)) tellField(attribute(element, 'diff:id'), propertyOf(field));
  };
  whenChanged(() => queryAll(document, WRAPPER).forEach(review));

  // ---- events ----

  const { dispatchEvents } = diffyne.eventManager;
  diffyne.eventManager.dispatchEvents = (events) => {
    for (const event of events ?? []) {
      cause = causes.get(event) ?? null;
      keepTheir = (params) => keep(params, kept(event.params));
      try {
        dispatchEvents.call(diffyne.eventManager, [event]);
      } finally {
        cause = null;
        keepTheir = () => {};
      }
    }
  };
  watchListeners((events) => transport.listen(events), (element) => lazy.get(element.getAttribute('diff:id'))?.listeners);

  // ---- the page's address ----

  // diffyne.js reloads the page then.
  window.addEventListener('popstate', () => leaveQuery(), { capture: true });

  // ---- components that come again ----

  const forget = (id) => {
    diffyne.eventManager.removeListenersForComponent?.(id);
    diffyne.registry.remove?.(id);
    queues.drop(id);
    lazy.delete(id);
    states.delete(id);
  };
  const { hydrateComponent } = diffyne;
  /** @param {Map<any, any>} [before] */
  const restore = (element, before) => {
    const id = attribute(element, 'diff:id');
    const component = diffyne.registry.get(id);
    if (!component) return;
    meet(element, shown(component.serverState, stateNode(id, element)), before);
    review(element);
  };
  if (hydrateComponent) {
    // diffyne.js hydrates some components twice; each listener then would make two calls.
    diffyne.hydrateComponent = (element) => {
      if (element.hasAttribute('data-diffyne-lazy')) return undefined;
      diffyne.eventManager.removeListenersForComponent?.(element.getAttribute('diff:id'));
      states.delete(element.getAttribute('diff:id'));
      return hydrateComponent.call(diffyne, element);
    };
  }
  function replace(element, fresh) {
    forget(element.getAttribute('diff:id'));
    element.replaceWith(fresh);
    if (fresh.hasAttribute('data-diffyne-lazy')) diffyne.loadLazyComponent?.(fresh);
    else if (hydrateComponent) diffyne.hydrateComponent(fresh);
    else location.reload();
  }
  for (const element of queryAll(document, WRAPPER)) restore(element, touched);
  announce('diffyne:ready', {});
}

if (isStarted()) {
  attach(window.diffyne);
} else {
  // The moment in which diffyne.js is there.
  let instance;
  Object.defineProperty(window, 'diffyne', {
    configurable: true,
    enumerable: true,
    get: () => instance,
    set: (value) => {
      instance = value;
      Object.defineProperty(window, 'diffyne', { value, configurable: true, enumerable: true, writable: true });
      attach(value);
    },
  });
}
