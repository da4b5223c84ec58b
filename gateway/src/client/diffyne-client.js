// A small client for pages with Diffyne components: calls, patches and pushes over one WebSocket.
// One call at a time per component: the state travels with the call, so the next one leaves when the one before is
// applied.

const CALL_TIMEOUT_MS = 30_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;
const SEEN_MAX = 500;
const QUEUE_MAX = 1000;

const me = document.getElementById('diffyne-client');
const components = new Map();
const waiting = new Map();
const seen = new Set();
let socket = null;
let retryMs = RETRY_FIRST_MS;
let requests = 0;

// ---- the connection ----

function connect() {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  socket = new WebSocket(`${scheme}://${location.host}/${me?.dataset.query ?? ''}`);
  socket.onopen = () => { retryMs = RETRY_FIRST_MS; show('open'); subscribe(); for (const c of components.values()) next(c); };
  socket.onmessage = ({ data }) => receive(JSON.parse(data));
  socket.onclose = () => {
    show('closed');
    for (const [id, call] of waiting) settle(id, { s: false, error: 'The connection broke. The call may or may not have run.', type: 'worker_lost' }, call);
    setTimeout(connect, Math.random() * retryMs);
    retryMs = Math.min(retryMs * 2, RETRY_LAST_MS);
  };
}

function show(state) {
  document.documentElement.dataset.diffyneConnection = state;
  const label = document.getElementById('state');
  if (label) label.textContent = state === 'open' ? 'connected' : 'connecting';
  document.dispatchEvent(new CustomEvent('diffyne:connection', { detail: { state } }));
}

const isOpen = () => socket?.readyState === WebSocket.OPEN;
const send = (event, data) => socket.send(JSON.stringify({ event, data }));

function subscribe() {
  const names = new Set();
  for (const component of components.values()) for (const name of Object.keys(component.listeners)) names.add(name);
  if (names.size) send('diffyne.subscribe', { events: [...names].map((name) => ({ name })) });
}

function receive({ event, data }) {
  if (event === 'diffyne.response') settle(JSON.stringify(data.requestId), data);
  if (event === 'diffyne.event' && remember(data.id)) dispatch(data.events, null, { id: data.id, depth: data.depth });
  if (event === 'diffyne.gap') location.reload();
}

function remember(id) {
  if (seen.has(id)) return false;
  seen.add(id);
  if (seen.size > SEEN_MAX) seen.delete(seen.values().next().value);
  return true;
}

// ---- calls ----

function call(component, method, params, cause) {
  enqueue(component, { event: 'diffyne.call', fields: { type: 'call', method, params }, cause });
}

function update(component, property, value) {
  const last = component.queue.at(-1);
  if (last?.event === 'diffyne.update' && last.fields.property === property) last.fields.value = value;
  else enqueue(component, { event: 'diffyne.update', fields: { type: 'update', property, value } });
}

function enqueue(component, job) {
  if (component.queue.length < QUEUE_MAX) component.queue.push(job);
  else console.warn(`diffyne: ${component.class} has ${QUEUE_MAX} calls waiting; this one is dropped`);
  next(component);
}

function next(component) {
  if (component.busy || !isOpen() || !component.queue.length) return;
  const job = component.queue.shift();
  const requestId = `req-${++requests}`;
  const isUpdate = job.event === 'diffyne.update';
  component.busy = true;
  // What is typed from now on is newer than this call's answer.
  const sent = isUpdate ? {} : component.edits;
  if (!isUpdate) component.edits = {};
  const timer = setTimeout(() => settle(JSON.stringify(requestId), { s: false, error: 'No answer in time', type: 'timeout' }), CALL_TIMEOUT_MS);
  waiting.set(JSON.stringify(requestId), { component, timer, sent });
  send(job.event, {
    ...job.fields,
    componentId: component.id,
    componentClass: component.class,
    state: isUpdate ? component.state : { ...component.state, ...sent },
    fingerprint: component.fingerprint,
    signature: component.signature,
    ...(job.cause ? { cause: job.cause } : {}),
    requestId,
  });
}

function settle(id, response) {
  const call = waiting.get(id);
  if (!call) return;
  waiting.delete(id);
  clearTimeout(call.timer);
  const { component } = call;
  component.busy = false;
  if (!response.s) component.edits = { ...call.sent, ...component.edits };
  showErrors(component, response.errors ?? {});
  if (response.redirect) location.assign(response.redirect.url);
  if (response.s && response.c) {
    component.state = response.c.st;
    component.fingerprint = response.c.f;
    component.signature = response.c.sig;
    apply(component, response.c.p);
    showErrors(component, response.c.e ?? {});
  } else if (!response.s && response.type !== 'validation_error') {
    console.warn(`diffyne: ${response.error} (${response.type})`);
  }
  (response.eventIds ?? []).forEach((eventId) => eventId && remember(eventId));
  dispatch(response.events ?? [], component);
  for (const { name, data } of response.browserEvents ?? []) window.dispatchEvent(new CustomEvent(name, { detail: data }));
  next(component);
}

function dispatch(events, from, cause) {
  for (const { name, params, to, self } of events) {
    for (const component of components.values()) {
      // The sender has its own news already, unless it asked for them.
      if (to ? !to.includes(component.id) : component === from && !self) continue;
      for (const method of component.listeners[name] ?? []) call(component, method, params, cause);
    }
  }
}

function showErrors(component, errors) {
  for (const place of component.root.querySelectorAll('[diff\\:error]')) {
    place.textContent = errors[place.getAttribute('diff:error')]?.[0] ?? '';
  }
}

// ---- patches: removes first, then the rest, deepest path first ----

const meaningful = (node) => node.nodeType === 1 || node.nodeType === 8 || (node.nodeType === 3 && node.data.trim() !== '');
const children = (node) => [...node.childNodes].filter(meaningful);
const at = (root, path) => path.reduce((node, index) => node && children(node)[index], root);

function compareRemoves(a, b) {
  for (let i = Math.min(a.length, b.length) - 1; i >= 0; i--) if (a[i] !== b[i]) return b[i] - a[i];
  return b.length - a.length;
}

function apply(component, patches) {
  const wrapper = component.root;
  if (patches.length === 1 && patches[0].t === 'c' && !patches[0].p.length) {
    wrapper.replaceChildren(build(patches[0].d.node));
    return;
  }
  const root = wrapper.firstElementChild;
  const removes = patches.filter(({ t }) => t === 'r').sort((a, b) => compareRemoves(a.p, b.p));
  const rest = patches.filter(({ t }) => t !== 'r').sort((a, b) => b.p.length - a.p.length);
  for (const { p } of removes) at(root, p)?.remove();
  for (const { t, p, d } of rest) {
    if (t === 'c') {
      const parent = at(root, p.slice(0, -1));
      parent?.insertBefore(build(d.node), children(parent)[p.at(-1)] ?? null);
      continue;
    }
    const node = at(root, p);
    if (!node) continue;
    if (t === 'R') node.replaceWith(build(d.node));
    if (t === 't') node.data = d.x;
    if (t === 'a') {
      for (const name of d.r ?? []) node.removeAttribute(name);
      for (const [name, value] of Object.entries(d.s ?? {})) setAttribute(component, node, name, value);
    }
  }
}

function setAttribute(component, node, name, value) {
  node.setAttribute(name, value);
  // What the user has typed since the call left stays.
  const property = node.getAttribute('diff:model');
  if (name === 'value' && 'value' in node && !(property in component.edits)) node.value = value;
}

function build({ t, a, c, x, m }) {
  if (x !== undefined) return document.createTextNode(x);
  if (m !== undefined) return document.createComment(m);
  const element = document.createElement(t);
  for (const [name, value] of Object.entries(a ?? {})) element.setAttribute(name, value);
  element.append(...(c ?? []).map(build));
  return element;
}

// ---- directives ----

const componentOf = (node) => components.get(node.closest('[data-diffyne-component]')?.getAttribute('diff:id'));

function parseCall(text) {
  const [, method, params] = text.match(/^\s*([\w$]+)\s*(?:\((.*)\))?\s*$/s) ?? [];
  if (!method) return null;
  const json = (params ?? '').replace(/'((?:[^'\\]|\\.)*)'/g, (_, inner) => JSON.stringify(inner));
  return { method, params: JSON.parse(`[${json}]`) };
}

function act(node, attribute) {
  const component = componentOf(node);
  const parsed = parseCall(node.getAttribute(attribute));
  if (component && parsed) call(component, parsed.method, parsed.params);
}

document.addEventListener('click', (event) => {
  const node = event.target.closest?.('[diff\\:click]');
  if (node) act(node, 'diff:click');
});

document.addEventListener('submit', (event) => {
  const form = event.target.closest?.('[diff\\:submit]');
  if (!form) return;
  event.preventDefault();
  act(form, 'diff:submit');
});

document.addEventListener('input', ({ target }) => {
  const attribute = [...target.attributes].find(({ name }) => name.startsWith('diff:model'));
  const component = attribute && componentOf(target);
  if (!component) return;
  if (attribute.name.includes('.live')) update(component, attribute.value, target.value);
  else component.edits[attribute.value] = target.value;
});

for (const root of document.querySelectorAll('[data-diffyne-component]')) {
  const listeners = JSON.parse(root.getAttribute('diff:listeners'));
  components.set(root.getAttribute('diff:id'), {
    root,
    id: root.getAttribute('diff:id'),
    class: root.getAttribute('diff:class'),
    state: JSON.parse(root.getAttribute('diff:state')),
    fingerprint: root.getAttribute('diff:fingerprint'),
    signature: root.getAttribute('diff:signature'),
    listeners: Array.isArray(listeners) ? {} : listeners,
    edits: {},
    queue: [],
    busy: false,
  });
}
connect();
