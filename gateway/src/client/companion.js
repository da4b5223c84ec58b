// Stands beside an unmodified diffyne.js: one call at a time per component, a WebSocket that comes back, AJAX while
// there is none, and the broadcasts of everybody else.
//
//   <script type="module" src="/_diffyne/companion.js" data-url="wss://example.com/diffyne?key=..."></script>
//
// data-url: the WebSocket; without it diffyneConfig.wsUrl, unless the page is configured for AJAX
// data-ajax: names of components, comma separated, whose calls go by AJAX

import { Transport } from './transport.js';
import { Queues } from './queue.js';
import { applyStreams } from './streams.js';
import { hold, modelAttribute } from './typing.js';
import { keep, kept, keepParams, print, shown } from './numbers.js';
import { leaveQuery, namesIn, parseJson, refresh, scriptTag, setQuery, socketUrl, usesAjax, watchListeners } from './page.js';

const DEFAULT_MAX_MESSAGE_SIZE = 1_048_576;

// What a browser shows in a file field. diffyne.js takes it for typed text, and would lose the files of a list.
const isFileName = (value) => typeof value === 'string' && value.startsWith('C:\\fakepath\\');

const tag = scriptTag(import.meta.url);
const config = (window.diffyneConfig ??= {});
const configured = config.transport;
const ajaxNames = namesIn(tag?.dataset.ajax);

// diffyne.js opens a WebSocket of its own as soon as it starts, if it is told to.
if (!window.diffyne) config.transport = 'ajax';

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
    maxMessageSize: config.maxMessageSize || DEFAULT_MAX_MESSAGE_SIZE,
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
  const isMarked = (element) => Boolean(element.closest('[data-diffyne-transport]'));

  async function send(payload) {
    const { componentId } = payload;
    const component = diffyne.registry.get(componentId);
    const job = queues.running(componentId);
    const data = job?.cause ? { ...payload, cause: job.cause } : payload;
    if (component) keep(component.serverState, stateNode(componentId, component.element));
    const how = { ...byAjax(component?.element), original: component?.serverState };
    const response = await transport.send(payload.type === 'update' ? 'update' : 'call', data, how);
    sortEvents(response, job?.cause);
    if (response.c) {
      states.set(componentId, kept(response.c.st));
      // diffyne.js would add a step to the history for every answer.
      if (response.c.q) setQuery(shown(response.c.q), payload.type);
      delete response.c.q;
    }
    if (component && job) {
      const sent = (property) => (payload.property === property ? payload.value : payload.state?.[property]);
      job.release = hold(component.element, sent);
      job.streams = response.c?.s;
      // They are not part of the tree that the patches are made for.
      for (const message of component.element.querySelectorAll('.diffyne-error-message')) message.remove();
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
    const element = document.querySelector(`[diff\\:id="${CSS.escape(componentId)}"]`);
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

  const { modelSync, handleAction } = diffyne;
  const { sync, syncInput } = modelSync;
  // Fields show integers as the server has sent them.
  modelSync.sync = (element, state) => sync.call(modelSync, element, shown(state));
  modelSync.syncInput = (field, value) => {
    const node = states.get(field.closest('[diff\\:id]')?.getAttribute('diff:id'));
    const property = modelAttribute(field)?.value;
    syncInput.call(modelSync, field, node ? shown({ [property]: value }, node)[property] : value);
  };
  function showNumbers(element) {
    const id = element.getAttribute('diff:id');
    const component = diffyne.registry.get(id);
    const node = component && stateNode(id, element);
    if (node) modelSync.sync(element, shown(component.state, node));
  }

  // diffyne.js reads the parameters of `id(432224099704639488)` as JavaScript's numbers.
  if (handleAction) {
    diffyne.handleAction = (id, action, event) => {
      keepTheir = (params) => keepParams(params, action);
      try {
        return handleAction.call(diffyne, id, action, event);
      } finally {
        keepTheir = () => {};
      }
    };
  }

  // ---- one call at a time ----

  const { callMethod, updateProperty, updateLocalState } = diffyne;
  const run = (id, work) => async (job) => {
    const component = diffyne.registry.get(id);
    // diffyne.js leaves the signature of a lazy component out.
    if (component && !component.signature) component.signature = lazy.get(id)?.signature;
    await work();
    if (component && job.streams) applyStreams(component.element, job.streams);
    const edits = job.release?.() ?? {};
    // The user's typing is part of the state that the next call takes along.
    if (component) Object.assign(component.state, edits);
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
    if (!isFileName(value)) updateLocalState?.call(diffyne, id, property, value);
  };

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
  window.addEventListener('popstate', leaveQuery, { capture: true });

  // ---- components that come again ----

  const forget = (id) => {
    diffyne.eventManager.removeListenersForComponent?.(id);
    diffyne.registry.remove?.(id);
    queues.drop(id);
    lazy.delete(id);
    states.delete(id);
  };
  const { hydrateComponent } = diffyne;
  if (hydrateComponent) {
    // diffyne.js hydrates some components twice; each listener then would make two calls.
    diffyne.hydrateComponent = (element) => {
      if (element.hasAttribute('data-diffyne-lazy')) return undefined;
      diffyne.eventManager.removeListenersForComponent?.(element.getAttribute('diff:id'));
      states.delete(element.getAttribute('diff:id'));
      const hydrated = hydrateComponent.call(diffyne, element);
      showNumbers(element);
      return hydrated;
    };
  }
  function replace(element, fresh) {
    forget(element.getAttribute('diff:id'));
    element.replaceWith(fresh);
    if (fresh.hasAttribute('data-diffyne-lazy')) diffyne.loadLazyComponent?.(fresh);
    else if (hydrateComponent) diffyne.hydrateComponent(fresh);
    else location.reload();
  }
  for (const element of document.querySelectorAll('[diff\\:state]')) showNumbers(element);
}

if (window.diffyne) {
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
