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
import { Hooks } from './hooks.js';
import { Transport } from './transport.js';
import { namesIn, refresh, scriptTag, socketUrl, usesAjax, watchListeners } from './page.js';
import { error } from './directives/error.js';
import { events } from './directives/events.js';
import { loading } from './directives/loading.js';
import { model } from './directives/model.js';
import { poll } from './directives/poll.js';

const MAX_MESSAGE_SIZE = 1_048_576;

const tag = scriptTag(import.meta.url);
const ajaxNames = namesIn(tag?.dataset.ajax);
const endpoint = tag?.dataset.endpoint ?? '/_diffyne';

const hooks = new Hooks();
const send = (root, type, data, original) =>
  transport.send(type, data, { ajax: usesAjax(root, ajaxNames), original });
const components = new Components(hooks, (root, data) => send(root, 'mount', data));
const calls = new Calls({ components, hooks, address: new Address(), send, isNew: (id) => transport.isNew(id) });
const refreshPage = () => refresh((old, fresh) => components.replace(old, fresh));
const transport = new Transport(
  { url: socketUrl(tag?.dataset.url), endpoint, maxMessageSize: MAX_MESSAGE_SIZE },
  { pushed: (pushed, cause) => calls.dispatch(pushed, cause), missed: refreshPage, valued: (push) => calls.value(push) },
);

const client = { components, calls, hooks, endpoint };
for (const directive of [model, events, poll, loading, error]) directive(client);

const look = () => components.look();
new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
look();
watchListeners((listened) => transport.listen(listened));

// For scripts of the page.
window.diffyneClient = {
  call: (id, method, ...params) => components.get(id) && calls.call(components.get(id), { method, params }),
  refresh: refreshPage,
};
