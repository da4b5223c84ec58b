import assert from 'node:assert/strict';
import { test } from 'node:test';

import { component, find, page } from './dom.js';
import { answer, settled, start } from './client.js';
import { poll } from '../directives/poll.js';

const flush = async () => { for (let i = 0; i < 20; i += 1) await Promise.resolve(); };

/** A page with these polls, whose time the test makes go by. */
function clock(context, html, server) {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  page(component('a', html));
  const client = start({ poll }, server);
  const after = async (ms) => {
    context.mock.timers.tick(ms);
    await flush();
    return client.sent.map(({ method }) => method).join(' ');
  };
  return { client, after };
}

test('a poll says when and what', async (context) => {
  /** @type {Record<string, [number, string]>} */
  const polls = {
    '<i diff:poll></i>': [2_000, 'refresh'],
    '<i diff:poll="500" diff:poll.action="tick(1)"></i>': [500, 'tick'],
    '<i diff:poll.3s="slow"></i>': [3_000, 'slow'],
    '<i diff:poll.750ms></i>': [750, 'refresh'],
    '<i diff:poll="soon"></i>': [2_000, 'soon'],
    '<i diff:poll="4s" diff:poll.action="far"></i>': [4_000, 'far'],
  };
  for (const [html, [ms, method]] of Object.entries(polls)) {
    const { after } = clock(context, `<p>${html}</p>`);
    assert.equal(await after(ms - 1), '', html);
    assert.equal(await after(1), method, html);
    assert.equal(await after(ms), `${method} ${method}`, html);
    context.mock.timers.reset();
  }
});

test('a poll that a patch brings starts, one that it changes goes on anew, one that it takes ends', async (context) => {
  const { after } = clock(context, '<p></p>');
  find('p').innerHTML = '<i diff:poll="100" diff:poll.action="one"></i>';
  await flush();
  assert.equal(await after(100), 'one');
  find('i').setAttribute('diff:poll', '300');
  await flush();
  assert.equal(await after(100), 'one');
  assert.equal(await after(200), 'one one');
  find('i').setAttribute('diff:poll.action', 'two');
  assert.equal(await after(300), 'one one two');
  find('i').remove();
  await flush();
  assert.equal(await after(3000), 'one one two');
});

test('a poll sleeps in a hidden page, and wakes with it', async (context) => {
  const { after } = clock(context, '<p><i diff:poll="100"></i><i diff:poll.keep-alive="100" diff:poll.action="awake"></i></p>');
  const show = (hidden) => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  };
  show(true);
  assert.equal(await after(100), 'awake');
  await after(100);
  show(false);
  await flush();
  assert.equal((await after(0)).includes('refresh'), true);
  delete (/** @type {any} */ (document)).hidden;
});

test('a poll under way keeps no click waiting, and its late answer does not undo what the click did', async () => {
  page(component('a', '<p><b diff:click="add">0</b><i diff:poll="1"></i></p>', { state: { n: 0 } }));
  const ends = [];
  const client = start({ poll }, (_, { method }) => new Promise((resolve) => { ends.push([method, resolve]); }));
  while (!ends.length) await settled(2);
  find('b').click();
  await settled();
  assert.deepEqual(ends.map(([method]) => method), ['refresh', 'add']);
  assert.equal(client.sent[0].background, true);
  ends[1][1](answer([{ t: 't', p: [0, 0], d: { x: '1' } }], { st: { n: 1 } }));
  await settled();
  ends[0][1](answer([{ t: 't', p: [0, 0], d: { x: '0' } }], { st: { n: 0 }, events: [{ name: 'polled', params: [] }] }));
  await settled();
  assert.equal(find('b').textContent, '1');
  assert.deepEqual(client.components.get('a').state, { n: 1 });
  find('i').remove();
});
