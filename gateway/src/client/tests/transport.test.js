import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fire, page } from './dom.js';
import { Transport } from '../transport.js';
import '../ajax.js'; // so that they are there at once
import '../refusal.js';

const flush = async () => { for (let i = 0; i < 50; i += 1) await Promise.resolve(); };

/** A server that the test plays: what a page has sent over its socket and by AJAX. */
function connect(context) {
  context.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  page();
  const server = { sent: /** @type {any[]} */ ([]), posted: /** @type {string[]} */ ([]), ws: /** @type {any} */ (null) };
  class WebSocket {
    static OPEN = 1;
    readyState = 0;
    constructor() { server.ws = this; }
    send(text) { server.sent.push(JSON.parse(text)); }
    close() {}
  }
  globalThis.WebSocket = /** @type {any} */ (WebSocket);
  globalThis.fetch = /** @type {any} */ (async (url, { body }) => {
    server.posted.push(body);
    return { status: 200, headers: new Map(), text: async () => '{"s":true}' };
  });
  const transport = new Transport({ url: 'ws://page.test/diffyne', endpoint: '/_diffyne' }, {});
  const say = (event, data) => server.ws.onmessage({ data: JSON.stringify({ event, data }) });
  return { transport, server, say };
}

test('nothing leaves before the greeting has said how large a message may be', async (context) => {
  const { transport, server, say } = connect(context);
  const call = (text) => transport.send('call', { componentId: 'a', method: 'say', params: [text] });
  transport.listen([{ name: 'sold' }]);
  call('short');
  call('x'.repeat(600));
  server.ws.readyState = 1;
  await flush();
  assert.deepEqual([server.sent, server.posted, transport.isOpen], [[], [], false]);
  say('diffyne.connected', { clientId: 'c', maxMessageSize: 600 });
  await flush();
  assert.deepEqual(server.sent.map(({ event }) => event), ['diffyne.subscribe', 'diffyne.call']);
  assert.deepEqual([server.sent[1].data.params, server.posted.length, transport.isOpen], [['short'], 1, true]);
  // Letters that take several bytes count as such.
  call('ä'.repeat(250));
  await flush();
  assert.equal(server.posted.length, 2);
});

test('subscriptions that an overloaded server has refused are asked for again, a call is not', async (context) => {
  const { transport, server, say } = connect(context);
  transport.listen([{ name: 'sold' }]);
  server.ws.readyState = 1;
  say('diffyne.connected', { clientId: 'c' });
  const refused = assert.rejects(transport.send('call', { componentId: 'a' }), { type: 'overloaded' });
  await flush();
  const asked = () => server.sent.filter(({ event }) => event === 'diffyne.subscribe').length;
  say('diffyne.error', { error: 'Too many', type: 'overloaded', requestId: server.sent[1].data.requestId });
  await refused;
  context.mock.timers.tick(3_000);
  assert.equal(asked(), 1);
  /** @type {[number, string[]][]} */
  const rows = [[1, ['subscribe_error']], [2, ['overloaded', 'server_error', 'timeout']], [3, ['worker_lost']]];
  for (const [times, types] of rows) {
    const before = asked();
    for (const type of types) say('diffyne.error', { error: 'Too many', type });
    await flush();
    context.mock.timers.tick(999);
    assert.equal(asked(), before);
    context.mock.timers.tick(1_001);
    assert.equal(asked(), times, 'once for all that was refused');
  }
});

test('an answer waits until a press of the mouse is over, and half a second at most', async (context) => {
  const { transport, server, say } = connect(context);
  server.ws.readyState = 1;
  say('diffyne.connected', { clientId: 'c' });
  const press = (type) => fire(document.body, type);
  const answered = [];
  const call = async (name) => {
    const sent = server.sent.length;
    transport.send('call', { componentId: 'a' }).then(() => answered.push(name));
    await flush();
    say('diffyne.response', { s: true, requestId: server.sent[sent].data.requestId });
    await flush();
  };
  press('pointerdown');
  await call('first');
  press('pointerup');
  await flush();
  assert.deepEqual(answered, [], 'its click is still to be told');
  context.mock.timers.tick(1);
  await flush();
  assert.deepEqual(answered, ['first']);
  press('pointerdown');
  await call('second');
  context.mock.timers.tick(500);
  await flush();
  assert.deepEqual(answered, ['first', 'second']);
});
