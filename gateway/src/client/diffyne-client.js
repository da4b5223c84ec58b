// Drives the Diffyne components of a page by itself, without diffyne.js.
//
//   <script type="module" src="/_diffyne/client.js" data-url="/diffyne?key=..."></script>
//
// data-url: the WebSocket; without it, calls go by AJAX
// data-endpoint: where AJAX calls go, /_diffyne by default
// data-ajax: names of components, comma separated, whose calls go by AJAX

import { Address } from './address.js';
import { Calls } from './calls.js';
import { Components } from './components.js';
import { Directives } from './directives.js';
import { announce, documentElement } from './dom.js';
import { Hooks } from './hooks.js';
import { Transport } from './transport.js';
import { namesIn, refresh, scriptTag, socketUrl, stored, usesAjax, watchListeners } from './page.js';
import { error } from './directives/error.js';
import { anyEvent } from './directives/events.js';
import { model } from './directives/model.js';

const ACCEPTS = ['streams', 'push', 'parts', 'islands', 'base'];

const tag = scriptTag(import.meta.url);
const ajaxNames = namesIn(tag?.dataset.ajax);
const endpoint = tag?.dataset.endpoint ?? '/_diffyne';

const hooks = new Hooks();
// What developers ask for is loaded when they do, and kept until the tab is closed.
let developer = null;
const developed = () => (developer ??= import('./debugging.js').then(({ develop }) => develop(hooks)));
async function send(root, type, data, original) {
  if (developer) await (await developer).slow();
  return transport.send(type, { ...data, accepts: ACCEPTS }, { ajax: usesAjax(root, ajaxNames), original });
}
const components = new Components(hooks, (root, data) => send(root, 'mount', data));
const address = new Address(hooks);
const calls = new Calls({ components, hooks, address, send, isNew: (id) => transport.isNew(id) });
/** @type {(broken?: Element) => any} */
const refreshPage = (broken) => refresh((old, fresh) => components.replace(old, fresh), broken);
const transport = new Transport(
  { url: socketUrl(tag?.dataset.url), endpoint },
  { pushed: (pushed, cause) => calls.dispatch(pushed, cause), missed: () => refreshPage(), valued: (push) => calls.value(push) },
);

// What a broken patch has left is replaced by what the server renders.
hooks.on('broken', ({ component, faults }) => {
  for (const fault of faults) console.error(`diffyne: ${component.className}: ${fault.message}`);
  refreshPage(component.root);
});

const definitions = new Map(); // of hooks
const client = { address, calls, components, definitions, endpoint, hooks };
const directives = new Directives(anyEvent(client));
model(client);
error(client);
// What pages load when they have it.
for (const name of 'dirty error hook init intersect loading navigate offline on poll show'.split(' ')) {
  directives.addRare(name, async () => (await import('./rare.js')).load(name, client));
}

// For scripts of the page.
window.diffyneClient = {
  call: (id, method, ...params) => components.get(id) && calls.call(components.get(id), { method, params }),
  refresh: () => refreshPage(),
  on: (name, listener) => hooks.on(name, listener),
  hook: (name, definition) => { definitions.set(name, definition); hooks.emit('defined', name); },
  navigate: (url) => address.go({ url, spa: true }),
  debug: async (on = true) => (await developed()).debug(on),
  latency: async (ms) => (await developed()).latency(ms),
};
window.diffyne ??= window.diffyneClient;
announce('diffyne:ready', {});
if (stored('diffyne:developer')) developed();

// ---- start ----

components.look();
directives.scan(document);
const observer = new MutationObserver((changes) => {
  components.look();
  directives.update(changes);
});
observer.observe(documentElement(), { attributes: true, childList: true, subtree: true });
watchListeners((listened) => transport.listen(listened));
