import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { component, find, page } from './dom.js';
import { answer, settled, started } from './client.js';
import { error } from '../directives/error.js';

beforeEach(() => page());

test('a click calls, and the answer changes the page', async () => {
  document.body.innerHTML = component('a', '<p><button diff:click="add(2)">0</button></p>', { state: { n: 0 } });
  const client = await started({}, () => answer([{ t: 't', p: [0, 0], d: { x: '2' } }]));
  find('button').click();
  await settled();
  const [{ method, params, state, signature }] = client.sent;
  assert.deepEqual({ method, params, state, signature }, { method: 'add', params: [2], state: { n: 0 }, signature: 's' });
  assert.equal(find('button').textContent, '2');
  assert.equal(client.components.get('a').fingerprint, 'f2');
});

test('events reach those who listen, and only whom they are for', async () => {
  const listeners = { said: ['hear'] };
  document.body.innerHTML = component('a', '<p><i diff:on.said="see"></i></p>') + component('b', '<p></p>', { listeners });
  const client = await started({});
  client.calls.dispatch([{ name: 'said', params: ['x'] }, { name: 'other', params: [] }]);
  client.calls.dispatch([{ name: 'said', params: ['y'], to: ['a'] }]);
  await settled();
  const heard = client.sent.map(({ componentId, method, params }) => `${componentId} ${method} ${params}`).sort();
  assert.deepEqual(heard, ['a see x', 'a see y', 'b hear x']);
});

test('faults of fields stand where the page has a place for them', async () => {
  document.body.innerHTML = component('a', '<p><button diff:click="save">x</button><input diff:model="name"><em diff:error="name" hidden></em></p>');
  const failure = Object.assign(new Error('no'), { type: 'validation_error', details: { errors: { name: ['Too short.'] } } });
  await started({ error }, () => { throw failure; });
  find('button').click();
  await settled();
  assert.equal(find('em').textContent, 'Too short.');
  assert.equal(find('em').hidden, false);
  assert.equal(find('input').getAttribute('aria-invalid'), 'true');
});

test('a component that is gone is forgotten, and one that comes is found', async () => {
  document.body.innerHTML = component('a', '<p></p>');
  const client = await started({});
  document.body.innerHTML = component('b', '<p></p>');
  client.components.look();
  assert.deepEqual([client.components.get('a'), client.components.get('b').id], [undefined, 'b']);
});
