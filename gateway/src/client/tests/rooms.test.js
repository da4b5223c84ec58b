import assert from 'node:assert/strict';
import { test } from 'node:test';

import { page } from './dom.js';
import { Transport } from '../transport.js';

const soon = () => new Promise((resolve) => { setTimeout(resolve); });

test('a script sees who comes and goes in a room, over connections and users, and whispers there', async () => {
  page();
  const { join, room } = await import('../channels.js');
  let sent = [];
  const transport = {
    clientId: 'c-1',
    heard: null,
    isOpen: false,
    listen: () => {},
    wish: () => null,
    tell: (event, data) => { if (transport.isOpen) sent.push([event, data]); return transport.isOpen; },
  };
  const take = () => { const all = sent; sent = []; return all; };
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  const warn = console.warn;
  console.warn = () => {};
  const told = [];
  const note = (kind) => (...values) => told.push([kind, ...values]);
  const heard = () => told.splice(0);

  // Before the page's script has started, and before there is a connection.
  const lobby = join('lobby').here(() => { throw new Error('fails'); }).here(note('here')).joining(note('joining')).leaving(note('leaving'));
  room('message-sent', { b: 2, a: 1 }, 'ChatRoom').error(note('error'));
  lobby.listenForWhisper('typing', note('whisper'));
  Transport.current = transport;
  document.dispatchEvent(new CustomEvent('diffyne:ready'));
  await soon();
  assert.deepEqual(take(), []);
  transport.isOpen = true;
  const { received } = Transport.rooms;
  const receive = (event, data) => received.call(Transport.rooms, event, data);
  Transport.rooms.opened();
  await soon();
  const [[event, { rooms, requestId }], ...more] = take();
  const asked = [{ name: 'presence:lobby' }, { name: 'message-sent', match: { b: 2, a: 1 }, componentClass: 'ChatRoom' }];
  assert.deepEqual([event, rooms, more], ['diffyne.presence', asked, []]);

  receive('diffyne.error', { error: 'Not granted', type: 'subscribe_error', rooms: ['message-sent{"a":1,"b":2}'], requestId });
  receive('diffyne.joined', { rooms: [{ room: 'presence:lobby', name: 'presence:lobby', id: '1', grant: 'g' }], requestId });
  receive('diffyne.presence', { room: 'presence:lobby', here: [{ id: '1', info: { n: 'Ada' } }] });
  receive('diffyne.presence', { room: 'presence:lobby', joins: [{ id: '2', info: { n: 'Bob' } }], leaves: [] });
  receive('diffyne.presence', { room: 'presence:other', joins: [{ id: '3', info: {} }], leaves: [] });
  assert.deepEqual(heard(), [['error', 'Not granted'], ['here', [{ n: 'Ada' }]], ['joining', { n: 'Bob' }]]);
  assert.deepEqual(reported, ['fails']);
  // There is something else to know of Bob, who is no other one then.
  receive('diffyne.presence', { room: 'presence:lobby', joins: [{ id: '2', info: { n: 'Bobby' } }], leaves: [] });
  receive('diffyne.presence', { room: 'presence:lobby', joins: [], leaves: ['2', '9'] });
  assert.deepEqual(heard(), [['here', [{ n: 'Ada' }, { n: 'Bobby' }]], ['leaving', { n: 'Bobby' }]]);
  join('lobby').here(note('late'));
  assert.deepEqual(heard(), [['late', [{ n: 'Ada' }]]]);

  lobby.whisper('typing', { at: 1 });
  assert.deepEqual(take(), [['diffyne.whisper', { room: 'presence:lobby', name: 'typing', data: { at: 1 } }]]);
  receive('diffyne.whisper', { room: 'presence:lobby', name: 'typing', from: '2', data: { at: 2 } });
  lobby.stopListeningForWhisper('typing');
  receive('diffyne.whisper', { room: 'presence:lobby', name: 'typing', from: '2', data: { at: 3 } });
  assert.deepEqual(heard(), [['whisper', { at: 2 }, '2']]);

  // Another connection: with the grant, and what was refused is asked for anew.
  Transport.rooms.opened();
  await soon();
  assert.deepEqual(take()[0][1].rooms, [{ name: 'presence:lobby', grant: 'g' }, asked[1]]);
  receive('diffyne.joined', { rooms: [{ room: 'presence:lobby', name: 'presence:lobby', id: '1' }], requestId: 'x' });
  // Somebody else logs in: the grant is another one's.
  receive('diffyne.left', { rooms: ['presence:lobby'], reason: 'the user has changed' });
  Transport.rooms.opened();
  await soon();
  assert.deepEqual(take()[0][1].rooms[0], { name: 'presence:lobby' });

  // Whoever leaves while on the way in leaves when it is in.
  lobby.leave();
  assert.deepEqual(take(), []);
  receive('diffyne.joined', { rooms: [{ room: 'presence:lobby', name: 'presence:lobby', id: '1', grant: 'h' }] });
  assert.deepEqual(take(), [['diffyne.leave', { rooms: ['presence:lobby'] }]]);
  assert.equal(receive('diffyne.error', { error: 'of a call', requestId: 'req-1' }), false);
  console.warn = warn;
});
