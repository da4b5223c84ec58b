import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Queues } from '../queue.js';

/** Jobs that note their names, and end when the test says so. */
function jobs() {
  const order = [];
  const ends = {};
  const job = (name, more = {}) => ({ run: () => { order.push(name); return new Promise((resolve) => { ends[name] = resolve; }); }, ...more });
  return { order, ends, job };
}

test('a component has one call at a time, in their order', async () => {
  const queues = new Queues();
  const { order, ends, job } = jobs();
  const first = queues.add('a', job('one'));
  const second = queues.add('a', job('two'));
  queues.add('b', job('other'));
  assert.deepEqual(order, ['one', 'other']);
  ends.one();
  await first;
  assert.deepEqual(order, ['one', 'other', 'two']);
  ends.two();
  await second;
  assert.equal(queues.running('a'), null);
});

test('updates that wait next to each other merge into the latest, equal reactions into the first', async () => {
  const queues = new Queues();
  const { order, ends, job } = jobs();
  const first = queues.add('a', job('call'));
  queues.add('a', job('h', { merge: 'last', key: 'text' }));
  const last = queues.add('a', job('he', { merge: 'last', key: 'text' }));
  queues.add('a', job('heard', { merge: 'any', key: 'refresh' }));
  queues.add('a', job('heard again', { merge: 'any', key: 'refresh' }));
  ends.call();
  await first;
  ends.he();
  await last;
  assert.deepEqual(order, ['call', 'he', 'heard']);
});

test('what waits for a component that is gone does not run', async () => {
  const queues = new Queues();
  const { order, ends, job } = jobs();
  queues.add('a', job('one'));
  const waiting = queues.add('a', job('two'));
  queues.drop('a');
  await waiting;
  ends.one();
  assert.deepEqual(order, ['one']);
});
