import assert from 'node:assert/strict';
import { test } from 'node:test';

import { page } from './dom.js';
import { Transport } from '../transport.js';

test('scripts hear events of channels beside components, each by every way to spell it', async () => {
  page();
  const { channel, hold, privateChannel, socketId } = await import('../channels.js');
  const listened = { name: 'message-sent', componentClass: 'ChatRoom' };
  let asked = [];
  const transport = {
    clientId: 'c-1',
    heard: /** @type {any} */ (null),
    listen: (events) => { asked = events; },
    wish: () => ({ events: [listened] }),
  };
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  const heard = [];
  const note = (where) => (data) => heard.push([where, data]);
  const names = () => asked.map(({ name }) => name);

  // Before the page's script has started.
  const orders = privateChannel('orders.7').listen('App\\Events\\Shop\\OrderPaid', () => { throw new Error('fails'); });
  assert.deepEqual([asked, socketId()], [[], null]);
  window.diffyne = {};
  Transport.current = transport;
  document.dispatchEvent(new CustomEvent('diffyne:ready'));
  assert.deepEqual([names(), socketId()], [['message-sent', 'private:orders.7:Shop.OrderPaid'], 'c-1']);
  assert.equal(window.diffyne.private, privateChannel);
  const second = note('second');
  orders.listen('.Shop.OrderPaid', second);
  orders.notification(note('notified'));
  const notified = 'private:orders.7:Illuminate.Notifications.Events.BroadcastNotificationCreated';
  assert.deepEqual(asked, [listened, { name: 'private:orders.7:Shop.OrderPaid' }, { name: notified }]);

  transport.heard([{ name: 'private:orders.7:Shop.OrderPaid', params: [{ order: 1 }] }, { name: 'private:orders.70:Shop.OrderPaid', params: [] }]);
  transport.heard([{ name: notified, params: [{ id: 'n' }] }]);
  assert.deepEqual([heard, reported], [[['second', { order: 1 }], ['notified', { id: 'n' }]], ['fails']]);

  // Components come and go, and what scripts want stays.
  transport.listen([]);
  assert.deepEqual(names(), ['private:orders.7:Shop.OrderPaid', notified]);
  orders.stopListening('Shop.OrderPaid', second);
  assert.equal(names().length, 2, 'the other listener of the event is there');
  orders.stopListening('Shop.OrderPaid');
  assert.deepEqual(names(), [notified]);

  // Elements count, and a channel that is left is not theirs.
  const [one, two] = [hold('channel:orders:paid'), hold('channel:orders:paid')];
  channel('orders').listen('paid', second);
  orders.leave();
  assert.deepEqual(names(), ['channel:orders:paid']);
  channel('orders').leave();
  one();
  assert.deepEqual(names(), ['channel:orders:paid']);
  two();
  assert.deepEqual(names(), []);
});
