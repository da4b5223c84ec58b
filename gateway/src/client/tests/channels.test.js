import assert from 'node:assert/strict';
import { test } from 'node:test';

import { page } from './dom.js';
import { Transport } from '../transport.js';

test('scripts hear events of channels beside components, each by every way to spell it, and ask for them in one go', async () => {
  page();
  const { channel, hold, privateChannel, socketId } = await import('../channels.js');
  const listened = { name: 'message-sent', componentClass: 'ChatRoom' };
  let asked = [];
  let times = 0;
  const transport = {
    clientId: 'c-1',
    heard: /** @type {any} */ (null),
    listen: (events) => { asked = events; times += 1; },
    wish: () => ({ events: [listened] }),
  };
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  const heard = [];
  const note = (where) => (data) => heard.push([where, data]);
  const names = async () => {
    await null;
    return asked.map(({ name }) => name);
  };

  // Before the page's script has started.
  const orders = privateChannel('orders.7').listen('App\\Events\\Shop\\OrderPaid', () => { throw new Error('fails'); });
  assert.deepEqual([asked, socketId()], [[], null]);
  window.diffyne = {};
  Transport.current = transport;
  document.dispatchEvent(new CustomEvent('diffyne:ready'));
  assert.deepEqual([await names(), socketId()], [['message-sent', 'private:orders.7:Shop.OrderPaid'], 'c-1']);
  assert.equal(window.diffyne.private, privateChannel);
  const second = note('second');
  orders.listen('.Shop.OrderPaid', second);
  orders.notification(note('notified'));
  const notified = 'private:orders.7:Illuminate.Notifications.Events.BroadcastNotificationCreated';
  await null;
  assert.equal(times, 2, 'at the start, and for both together');
  assert.deepEqual(asked, [listened, { name: 'private:orders.7:Shop.OrderPaid' }, { name: notified }]);

  transport.heard([{ name: 'private:orders.7:Shop.OrderPaid', params: [{ order: 1 }] }, { name: 'private:orders.70:Shop.OrderPaid', params: [] }]);
  transport.heard([{ name: notified, params: [{ id: 'n' }] }]);
  assert.deepEqual([heard, reported], [[['second', { order: 1 }], ['notified', { id: 'n' }]], ['fails']]);

  // Components come and go, and what scripts want stays.
  transport.listen([]);
  assert.deepEqual(await names(), ['private:orders.7:Shop.OrderPaid', notified]);
  orders.stopListening('Shop.OrderPaid', second);
  assert.equal((await names()).length, 2, 'the other listener of the event is there');
  orders.stopListening('Shop.OrderPaid');
  assert.deepEqual(await names(), [notified]);

  // Elements count, and a channel that is left is not theirs.
  const [one, two] = [hold('channel:orders:paid'), hold('channel:orders:paid')];
  channel('orders').listen('paid', second);
  orders.leave();
  assert.deepEqual(await names(), ['channel:orders:paid']);
  channel('orders').leave();
  one();
  assert.deepEqual(await names(), ['channel:orders:paid']);
  two();
  assert.deepEqual(await names(), []);

  // A page with many channels sends one message, and its elements as well.
  times = 0;
  for (let n = 0; n < 200; n += 1) privateChannel(`room.${n}`).listen('Said', second);
  for (let n = 0; n < 200; n += 1) hold(`channel:stock:${n}`);
  assert.equal((await names()).length, 400);
  for (let n = 0; n < 200; n += 1) privateChannel(`room.${n}`).leave();
  assert.equal((await names()).length, 200);
  assert.equal(times, 2);
});
