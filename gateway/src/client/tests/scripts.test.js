import assert from 'node:assert/strict';
import { test } from 'node:test';

import { component, find, page } from './dom.js';
import { answer, settled, start, started, stop } from './client.js';
import { Directives } from '../directives.js';
import { Hooks } from '../hooks.js';
import { startDebugging } from '../debugging.js';
import { error } from '../directives/error.js';
import { error as failure } from '../directives/failure.js';
import { hook } from '../directives/hook.js';
import { init } from '../directives/init.js';

test('a listener that throws harms no other one, and one that has ended hears nothing', (context) => {
  const failed = context.mock.method(console, 'error', () => {});
  const hooks = new Hooks();
  const heard = [];
  hooks.on('call', () => { throw new Error('no'); });
  const end = hooks.on('call', (detail) => heard.push(detail));
  hooks.emit('call', 1);
  end();
  hooks.emit('call', 2);
  hooks.emit('other', 3);
  assert.deepEqual([heard, failed.mock.callCount()], [[1], 2]);
});

test('a script looks after an element from its coming to its going', async () => {
  page(component('a', '<p><i data-diffyne-hook="Chart"></i><b data-diffyne-hook="None"></b><button diff:click="go">x</button></p>'));
  const client = start({ hook }, () => answer([]));
  const told = [];
  const note = (name) => /** @this {any} */ function tell() { told.push(`${name} ${this.element.localName} ${this.component.id}`); };
  const names = ['mounted', 'beforeUpdate', 'updated', 'disconnected', 'reconnected', 'destroyed'];
  client.definitions.set('Chart', Object.fromEntries(names.map((name) => [name, note(name)])));
  client.hooks.emit('defined', 'Chart');
  find('button').click();
  await settled(5);
  for (const state of ['closed', 'open']) document.dispatchEvent(new CustomEvent('diffyne:connection', { detail: { state } }));
  find('i').remove();
  await settled();
  assert.deepEqual(told, names.map((name) => `${name} i a`));
});

test('a call of a hook is one of its component', async () => {
  page(component('a', '<p><i data-diffyne-hook="Map"></i></p>'));
  const client = start({ hook });
  client.definitions.set('Map', { mounted() { this.call('moved', 1, [2]); } });
  client.hooks.emit('defined', 'Map');
  await settled();
  assert.deepEqual(client.sent.map(({ method, params }) => [method, params]), [['moved', [1, [2]]]]);
});

test('why a call failed is shown in its component, or else on the page, until the next one succeeds', async (context) => {
  context.mock.method(console, 'warn', () => {});
  const button = '<button diff:click="go">x</button>';
  page(`<p id="page" diff:error hidden></p>${component('a', `<p>${button}<i diff:error hidden></i></p>`)}${component('b', `<p>${button}</p>`)}`);
  let isFailing = true;
  start({ error, failure }, () => {
    if (isFailing) throw Object.assign(new Error('no network'), { type: 'network_error' });
    return answer([]);
  });
  const texts = () => [find('#page').textContent, find('i').textContent, find('#page').hidden, find('i').hidden];
  const [a, b] = document.querySelectorAll('button');
  a.click();
  await settled();
  assert.deepEqual(texts(), ['', 'no network', true, false]);
  b.click();
  await settled();
  assert.deepEqual(texts(), ['no network', 'no network', false, false]);
  document.addEventListener('diffyne:error', (event) => event.preventDefault(), { once: true });
  isFailing = false;
  a.click();
  b.click();
  await settled();
  assert.deepEqual(texts(), ['', '', true, true]);
  isFailing = true;
  a.click();
  await settled();
  assert.deepEqual(texts(), ['', '', true, true], 'a script shows it');
});

test('what is cloaked shows when the directives that the page loads are there', async () => {
  stop();
  page('<b diff:cloak diff:rare="x"></b>');
  const directives = new Directives(() => undefined);
  let arrive = () => {};
  const attached = [];
  directives.addRare('rare', () => new Promise((resolve) => { arrive = () => resolve(({ value }) => { attached.push(value); }); }));
  directives.scan(document);
  await settled();
  assert.equal(find('b').hasAttribute('diff:cloak'), true);
  arrive();
  await settled();
  assert.deepEqual([find('b').hasAttribute('diff:cloak'), attached], [false, ['x']]);
});

test('diff:init calls once, also when its element is moved', async () => {
  page(component('a', '<p><i diff:init="load(1)"></i><b></b></p>'));
  const client = await started({ init });
  find('p').append(find('i'));
  await settled(5);
  assert.deepEqual(client.sent.map(({ method, params }) => [method, params]), [['load', [1]]]);
});

test('developers see calls, answers and patches in the console, until they have seen enough', async (context) => {
  const debug = context.mock.method(console, 'debug', () => {});
  page(component('a', '<p><button diff:click="go">x</button></p>'));
  const client = start({}, () => answer([]));
  const end = startDebugging(client.hooks);
  find('button').click();
  await settled();
  const lines = debug.mock.calls.map(({ arguments: [first, second] }) => `${first} ${second}`);
  assert.deepEqual(lines, ['diffyne: → a.go', 'diffyne: 0 patches for a', 'diffyne: ← a.go']);
  end();
  find('button').click();
  await settled();
  assert.equal(debug.mock.callCount(), 3);
});
