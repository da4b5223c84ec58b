// Laravel's channels, for scripts of the page:
//
//   <script type="module">
//     import { channel, privateChannel } from '/_diffyne/channels.js';
//     privateChannel('orders.7').listen('OrderPaid', ({ order }) => show(order));
//   </script>
//
// With a script tag for this module, `diffyne.channel`, `diffyne.private`, `diffyne.join`, `diffyne.room` and
// `diffyne.socketId` are there.

import { announce } from './dom.js';
import { enter, room } from './rooms.js';
import { Transport } from './transport.js';

const NOTIFICATION = 'Illuminate.Notifications.Events.BroadcastNotificationCreated';

// A page may load this module twice, by its name and by that of its content.
const shared = (Transport.channels ??= {
  callbacks: new Map(), // by the event's name as it is broadcast: those that hear it
  held: new Map(), // by the event's name: how many elements with diff:on. call a method then
  tell: () => {}, // tells the transport what to subscribe to
  isDue: false, // whether it is about to be told
});
const { callbacks, held } = shared;

// Pages open many channels in one go: the transport is told once.
function renew() {
  if (shared.isDue) return;
  shared.isDue = true;
  queueMicrotask(() => { shared.isDue = false; shared.tell(); });
}

// `App\Events\Shop\OrderPaid`, `Shop.OrderPaid` and `.Shop.OrderPaid` are one event.
const shortName = (event) => event.replaceAll('\\', '.').replace(/^\.+/, '').replace(/^App\.Events\./, '');

function hear(events) {
  for (const { name, params } of events) {
    for (const callback of callbacks.get(name) ?? []) {
      // One that fails keeps nobody from hearing.
      try { callback(...params); } catch (error) { reportError(error); }
    }
  }
}

// From now on the transport subscribes to what the page's components and its scripts want.
function attach() {
  const transport = Transport.current;
  if (!transport.heard) {
    const { listen } = transport;
    let listened = transport.wish()?.events ?? [];
    const names = () => [...new Set([...callbacks.keys(), ...held.keys()])];
    shared.tell = () => listen.call(transport, [...listened, ...names().map((name) => ({ name }))]);
    transport.listen = (events) => { listened = events; renew(); };
    transport.heard = hear;
    renew();
  }
  Object.assign(window.diffyne ?? {}, { channel, private: privateChannel, join, room, socketId });
  Transport.rooms.opened();
  announce('diffyne:channels', {});
}

// kind: channel, private or presence
const open = (kind) => (name) => {
  const prefix = `${kind}:${name}:`;
  const set = (key, list) => {
    if (list.length) callbacks.set(key, list);
    else callbacks.delete(key);
    renew();
    return opened;
  };
  const of = (event) => prefix + shortName(event);
  const opened = {
    listen: (event, callback) => set(of(event), [...(callbacks.get(of(event)) ?? []), callback]),
    // Without a callback, all of the event.
    stopListening: (event, callback) => set(of(event), (callbacks.get(of(event)) ?? []).filter((other) => callback && other !== callback)),
    notification: (callback) => opened.listen(NOTIFICATION, callback),
    leave: () => { for (const key of [...callbacks.keys()]) if (key.startsWith(prefix)) set(key, []); },
  };
  return opened;
};

export const channel = open('channel');
export const privateChannel = open('private');
// Whoever joins is there for the others: here(), joining(), leaving(), whisper() and listenForWhisper() are in rooms.js.
export const join = (name) => enter({ name: `presence:${name}` }, open('presence')(name));
export { room };

// What the page's own requests say in X-Socket-ID, so that toOthers() leaves this page out.
export const socketId = () => Transport.current?.clientId ?? null;

// Subscribes to an event for an element of the page. Returns what ends that.
export function hold(name) {
  const count = (change) => {
    const number = (held.get(name) ?? 0) + change;
    if (number) held.set(name, number);
    else held.delete(name);
    renew();
  };
  count(1);
  return () => count(-1);
}

if (Transport.current) attach();
else document.addEventListener('diffyne:ready', attach, { once: true });
