// Drives the Diffyne components of a page by itself, without diffyne.js.
//
//   <script type="module" src="/_diffyne/client.js" data-url="/diffyne?key=..."></script>
//
// data-url: the WebSocket; without it, calls go by AJAX
// data-endpoint: where AJAX calls go, /_diffyne by default
// data-ajax: names of components, comma separated, whose calls go by AJAX

import { Transport } from './transport.js';
import { Queues } from './queue.js';
import { applyPatches } from './patches.js';
import { showErrors, showLoading } from './feedback.js';
import { keepParams, print, shown as withTexts } from './numbers.js';
import { hold, modelAttribute, valueOf } from './typing.js';
import { leaveQuery, listenersOf, namesIn, parseJson, refresh, scriptTag, setQuery, socketUrl, usesAjax, watchListeners } from './page.js';

const MAX_MESSAGE_SIZE = 1_048_576;
const DEBOUNCE_MS = 150;
const POLL_MS = 2_000;
const WRAPPER = '[data-diffyne-component]';

const tag = scriptTag(import.meta.url);
const ajaxNames = namesIn(tag?.dataset.ajax);
const components = new Map(); // by id
const queues = new Queues();

const endpoint = tag?.dataset.endpoint ?? '/_diffyne';

const transport = new Transport(
  { url: socketUrl(tag?.dataset.url), endpoint, maxMessageSize: MAX_MESSAGE_SIZE },
  { pushed: dispatch, missed: () => refresh(replace) },
);

// ---- components ----

function hydrate(root) {
  const id = root.getAttribute('diff:id');
  if (components.get(id)?.root === root) return;
  if (root.hasAttribute('data-diffyne-lazy')) {
    load(root, id);
    return;
  }
  adopt(root, id, {
    state: parseJson(root.getAttribute('diff:state'), {}),
    fingerprint: root.getAttribute('diff:fingerprint'),
    signature: root.getAttribute('diff:signature'),
    listeners: listenersOf(root),
  });
}

function adopt(root, id, { state, fingerprint, signature, listeners }) {
  const component = { id, root, className: root.getAttribute('diff:class'), state, fingerprint, signature, listeners, edits: {} };
  components.set(id, component);
  syncModels(component);
  for (const place of root.querySelectorAll('[diff\\:poll]')) if (ownerOf(place) === component) poll(place);
}

async function load(root, id) {
  if (root.dataset.diffyneLazy === 'loading') return;
  root.dataset.diffyneLazy = 'loading';
  const data = {
    componentClass: root.getAttribute('diff:class'),
    componentId: id,
    params: parseJson(root.getAttribute('diff:params'), {}),
    queryParams: Object.fromEntries(new URLSearchParams(location.search)),
  };
  try {
    const loaded = await transport.send('mount', data, { ajax: usesAjax(root, ajaxNames) });
    root.innerHTML = loaded.html;
    root.setAttribute('diff:listeners', JSON.stringify(loaded.eventListeners ?? {}));
    root.removeAttribute('data-diffyne-lazy');
    root.setAttribute('data-diffyne-loaded', '');
    adopt(root, id, { ...loaded, listeners: listenersOf(root) });
  } catch (error) {
    root.dataset.diffyneLazy = 'failed';
    failed({ root, className: data.componentClass }, error);
  }
}

const ownerOf = (node) => components.get(node.closest(WRAPPER)?.getAttribute('diff:id'));

function forget(id) {
  components.delete(id);
  queues.drop(id);
}

function replace(old, fresh) {
  forget(old.getAttribute('diff:id'));
  old.replaceWith(fresh);
}

function look() {
  for (const root of document.querySelectorAll(WRAPPER)) hydrate(root);
  for (const [id, { root }] of components) if (!root.isConnected) forget(id);
}

// ---- calls ----

function call(component, method, params, cause) {
  const work = () => exchange(component, 'call', { method, params }, cause);
  const job = { run: work };
  // Reactions to pushes that wait see the same things.
  if (cause) Object.assign(job, { merge: 'any', key: `${method} ${print(params)}` });
  return queues.add(component.id, job);
}

function update(component, property, value) {
  const work = () => exchange(component, 'update', { property, value });
  return queues.add(component.id, { run: work, merge: 'last', key: property });
}

async function exchange(component, type, what, cause) {
  const { id, root, className, fingerprint, signature } = component;
  // An update is verified: its state is what the server has signed. A call takes the user's edits along.
  const state = type === 'update' ? component.state : { ...component.state, ...component.edits };
  const data = { type, componentId: id, componentClass: className, ...what, state, fingerprint, signature };
  if (cause) data.cause = cause;
  const sent = (property) => (what.property === property ? what.value : state[property]);
  // An update is part of filling in a form: a button that it disables would swallow the next click.
  if (type === 'call') showLoading(root, true);
  try {
    const response = await transport.send(type, data, { ajax: usesAjax(root, ajaxNames), original: component.state });
    apply(component, response, sent, cause, type);
  } catch (error) {
    failed(component, error);
  } finally {
    if (type === 'call') showLoading(root, false);
  }
}

function failed(component, error) {
  if (error.type === 'validation_error' && error.details?.errors) {
    showErrors(component.root, error.details.errors);
    return;
  }
  console.warn(`diffyne: ${component.className}: ${error.message} (${error.type})`);
  const detail = { message: error.message, type: error.type, componentClass: component.className };
  document.dispatchEvent(new CustomEvent('diffyne:error', { detail }));
}

function apply(component, response, sent, cause, type) {
  if (response.redirect) {
    go(response.redirect);
    return;
  }
  if (response.c && components.get(component.id) === component) {
    const { p, st, f, sig, e, q } = response.c;
    const release = hold(component.root, sent);
    applyPatches(component.root, p);
    Object.assign(component, { state: st, fingerprint: f, signature: sig });
    syncModels(component);
    component.edits = release();
    showErrors(component.root, e ?? {});
    if (q) {
      setQuery(withTexts(q), type);
      shown = withoutHash();
    }
  }
  const ids = response.eventIds ?? [];
  const depth = cause ? cause.depth + 1 : 0;
  (response.events ?? []).forEach((event, index) => {
    const id = ids[index];
    if (!id) dispatch([event]);
    else if (transport.isNew(id)) dispatch([event], { id, depth });
  });
  for (const { name, data } of response.browserEvents ?? []) {
    window.dispatchEvent(new CustomEvent(name, { detail: data, bubbles: true, cancelable: true }));
  }
}

function dispatch(events, cause) {
  for (const { name, params, to } of events) {
    for (const component of components.values()) {
      if (to?.length && !to.includes(component.id)) continue;
      for (const method of component.listeners[name] ?? []) call(component, method, params, cause);
      for (const place of component.root.querySelectorAll(`[diff\\:on\\.${CSS.escape(name)}]`)) {
        if (ownerOf(place) === component) call(component, place.getAttribute(`diff:on.${name}`), params, cause);
      }
    }
  }
}

// ---- the page's address ----

const withoutHash = () => location.href.split('#')[0];
let shown = withoutHash();

async function go({ url, spa }) {
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
    shown = withoutHash();
    window.scrollTo(0, 0);
  } catch (error) {
    console.warn('diffyne: a page could not be fetched, so it is loaded', error);
    location.assign(url);
  }
}

window.addEventListener('popstate', () => {
  // Another place on the same page is not another page.
  if (withoutHash() === shown) return;
  leaveQuery();
  location.reload();
});

// ---- directives ----

// `method`, or `method(1, 'x', true)`.
function parseAction(text) {
  const [, method, list = ''] = text.match(/^\s*([\w$]+)\s*(?:\((.*)\)\s*)?$/s) ?? [];
  if (!method) {
    console.warn(`diffyne: ${text} is no action`);
    return null;
  }
  const params = [];
  for (const [, single, double, word] of list.matchAll(/'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^,\s]+)/g)) {
    const quoted = single ?? double;
    if (quoted !== undefined) params.push(quoted.replace(/\\(.)/g, '$1'));
    else params.push(word === 'null' ? null : parseJson(word, word));
  }
  keepParams(params, list);
  return { method, params };
}

function act(place, directive) {
  const component = ownerOf(place);
  const action = component && parseAction(place.getAttribute(directive));
  if (action) call(component, action.method, action.params);
}

const closest = (event, directive) => event.target.closest?.(`[${CSS.escape(directive)}]`);

for (const kind of ['click', 'change']) {
  document.addEventListener(kind, (event) => {
    const place = closest(event, `diff:${kind}`);
    if (place) act(place, `diff:${kind}`);
  });
}

document.addEventListener('submit', (event) => {
  const form = closest(event, 'diff:submit');
  if (!form || !ownerOf(form)) return;
  event.preventDefault();
  act(form, 'diff:submit');
});

function poll(place) {
  if (place.dataset.diffynePoll) return;
  place.dataset.diffynePoll = 'on';
  const timer = setInterval(() => {
    if (!place.isConnected) clearInterval(timer);
    else if (!document.hidden) {
      const component = ownerOf(place);
      const action = component && parseAction(place.getAttribute('diff:poll.action') ?? 'refresh');
      if (!action) return;
      const work = () => exchange(component, 'call', action);
      queues.add(component.id, { run: work, merge: 'any', key: `${action.method} ${print(action.params)}` });
    }
  }, Number.parseInt(place.getAttribute('diff:poll'), 10) || POLL_MS);
}

// ---- models ----

const waiting = new WeakMap(); // timers of live fields

function modelOf(field) {
  const attribute = modelAttribute(field);
  if (!attribute) return null;
  const [, ...modifiers] = attribute.name.split('.');
  const at = modifiers.indexOf('debounce');
  const debounceMs = at >= 0 ? Number.parseInt(modifiers[at + 1], 10) : DEBOUNCE_MS;
  return { property: attribute.value, live: modifiers.includes('live'), lazy: modifiers.includes('lazy'), debounceMs };
}

// Fields that say something by being chosen, rather than by what is typed.
const isChoice = (field) => field.localName === 'select' || ['checkbox', 'radio', 'file'].includes(field.type);

document.addEventListener('input', ({ target }) => {
  const model = modelOf(target);
  const component = model && ownerOf(target);
  if (!component || isChoice(target)) return;
  component.edits[model.property] = target.value;
  if (!model.live) return;
  clearTimeout(waiting.get(target));
  waiting.set(target, setTimeout(() => update(component, model.property, target.value), model.debounceMs));
});

document.addEventListener('change', ({ target }) => {
  const model = modelOf(target);
  const component = model && ownerOf(target);
  if (!component || (target.type === 'radio' && !target.checked)) return;
  if (target.type === 'file') upload(component, target, model.property);
  else if (isChoice(target) || (model.lazy && !model.live)) update(component, model.property, valueOf(target));
});

async function upload(component, field, property) {
  if (!field.files.length) return;
  const { id, className } = component;
  // Most pages have no use for it.
  const { uploadFiles, withFiles } = await import('./upload.js');
  const uploaded = await uploadFiles(field, { endpoint, componentId: id, componentClass: className, property });
  if (!uploaded) return;
  const { identifiers, errors } = uploaded;
  // The list as it is when the update's turn comes.
  const value = () => withFiles(component.state[property], identifiers, field.multiple);
  const work = () => exchange(component, 'update', { property, value: value() });
  if (identifiers.length) await queues.add(id, { run: work });
  if (errors.length) showErrors(component.root, { [property]: errors });
}

// Fields show the state, unless the user is ahead of it.
function syncModels(component) {
  const state = withTexts(component.state);
  for (const field of component.root.querySelectorAll('input, textarea, select')) {
    const model = modelOf(field);
    if (!model || field.type === 'file' || ownerOf(field) !== component || !(model.property in state)) continue;
    const value = state[model.property];
    if (field.type === 'checkbox') field.checked = Boolean(value);
    else if (field.type === 'radio') field.checked = field.value === String(value);
    else if (field.value !== String(value ?? '')) field.value = String(value ?? '');
  }
}

// ---- start ----

new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
look();
watchListeners((events) => transport.listen(events));

// For scripts of the page.
window.diffyneClient = {
  call: (id, method, ...params) => components.has(id) && call(components.get(id), method, params),
  refresh: () => refresh(replace),
};
