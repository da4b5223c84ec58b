import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';

import './dom.js';
import { EventStream } from '../event-stream.js';

const message = (event, data = {}, id = '') => `${id && `id: ${id}\n`}data: ${JSON.stringify({ event, data })}\n\n`;

/** What comes of a response: these parts, one after the other. `end`: it ends behind them. */
async function hear({ status = 200, type = 'text/event-stream', parts = /** @type {string[]} */ ([]), end = true, poll = null, more = {} }, wish = {}) {
  const asked = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    asked.push(request.method, request.url, JSON.parse(body), request.headers['x-diffyne-client-id']);
    response.writeHead(status, { 'Content-Type': type, ...more });
    for (const part of parts) {
      response.write(part);
      await new Promise((resolve) => { setImmediate(resolve); });
    }
    if (end) response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const heard = [];
  const { port } = /** @type {any} */ (server.address());
  const stream = new EventStream(`http://127.0.0.1:${port}/events`, poll, {
    opened: () => heard.push('opened'),
    received: ({ event, data }) => heard.push([event, data]),
  });
  const ended = await stream.run(wish);
  server.closeAllConnections();
  server.close();
  return { ...ended, heard, asked };
}

test('messages come as they were sent, however they are cut, and ids tell the place', async () => {
  const all = message('diffyne.connected', { clientId: 'x' }, '') + ':\nid: a:b:7\n\n' + message('diffyne.event', { n: 'ä\n1' }, 'e:8')
    + 'data: {"event":\ndata: "diffyne.event", "data": {"n": 432224099704639488}}\n\n: closed, 1001 Server is going away\n\n';
  for (const length of [40, 10_000]) {
    const parts = all.match(new RegExp(`.{1,${length}}`, 'gs'));
    const { outcome, isNew, heard, asked } = await hear({ parts }, { events: [] });
    assert.deepEqual([outcome, isNew], ['cut', true]);
    const [opened, connected, place, event] = heard;
    assert.deepEqual([opened, connected], ['opened', ['diffyne.connected', { clientId: 'x' }]]);
    assert.deepEqual(place, ['diffyne.pong', { epoch: 'a:b', offset: 7 }]);
    assert.deepEqual(event, ['diffyne.event', { n: 'ä\n1' }]);
    assert.equal(heard.length, 5);
    assert.deepEqual(asked, ['POST', '/events', { events: [] }, undefined]);
  }
});

test('how a response ends says what to do next', async () => {
  const greeting = message('diffyne.connected');
  const goodbye = (data) => [greeting, message('diffyne.disconnect', data)];
  const poll = { seconds: 25, clientId: 'x' };
  for (const [response, outcome, waitMs = 0] of [
    [{ parts: goodbye({ reconnect: true, retryAfter: 20 }), end: false }, 'told'],
    [{ parts: goodbye({ reconnect: true, retryAfter: 20 }), poll }, 'told', 20],
    [{ parts: goodbye({ reconnect: false }), end: false }, 'ended'],
    [{ parts: [greeting], poll }, 'answered'],
    [{ parts: [] }, 'held'],
    [{ parts: [greeting] }, 'cut'],
    [{ status: 404, type: 'text/html' }, 'refused'],
    [{ type: 'text/html', parts: ['<p>a login</p>'] }, 'refused'],
    [{ status: 503, more: { 'Retry-After': '2' } }, 'failed', 2_000],
  ]) {
    const ended = await hear(/** @type {any} */ (response));
    assert.deepEqual([ended.outcome, ended.waitMs], [outcome, waitMs], JSON.stringify(response));
  }
  const { asked } = await hear({ parts: [greeting], poll });
  assert.deepEqual(asked.slice(1), ['/events?poll=25', {}, 'x']);
});
