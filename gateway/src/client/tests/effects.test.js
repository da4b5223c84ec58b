import assert from 'node:assert/strict';
import { test } from 'node:test';

import { component, find, page } from './dom.js';
import { answer, settled, start } from './client.js';
import { dirty } from '../directives/dirty.js';
import { loading } from '../directives/loading.js';
import { model } from '../directives/model.js';
import { offline } from '../directives/offline.js';
import { isTrue, show } from '../directives/show.js';

/** A page whose button calls `go`, and a server that answers when the test says so. */
function slow(html, kinds = { loading }) {
  page(component('a', `<p><button diff:click="go">x</button>${html}</p>`));
  const ends = [];
  const client = start(kinds, () => new Promise((resolve, reject) => { ends.push({ resolve, reject }); }));
  return {
    client,
    begin: async () => { find('button').click(); await settled(); },
    end: async (patches = []) => { ends.shift().resolve(answer(patches)); await settled(); },
    fail: async () => { ends.shift().reject(Object.assign(new Error('no'), { type: 'x' })); await settled(); },
  };
}
const bare = (element) => {
  const copy = element.cloneNode(true);
  for (const { name } of [...copy.attributes]) if (name.startsWith('diff:')) copy.removeAttribute(name);
  return copy.outerHTML;
};

// [the element, what it is while a call is under way]
const LOADING = [
  ['<i diff:loading></i>', '<i data-diffyne-dimmed=""></i>'],
  ['<i style="opacity: 0.8" diff:loading></i>', '<i style="opacity: 0.8" data-diffyne-dimmed=""></i>'],
  ['<i diff:loading.class.busy></i>', '<i class="busy"></i>'],
  ['<i class="b" diff:loading.class="a b c"></i>', '<i class="b a c"></i>'],
  ['<i class="on x" diff:loading.remove.on></i>', '<i class="x"></i>'],
  ['<i class="on x" diff:loading.class.remove="on"></i>', '<i class="x"></i>'],
  ['<i class="x" diff:loading.remove.on></i>', '<i class="x"></i>'],
  ['<i diff:loading.attr.disabled></i>', '<i disabled=""></i>'],
  ['<i aria-busy="false" diff:loading.attr.aria-busy.true diff:loading.attr="disabled"></i>', '<i aria-busy="true" disabled=""></i>'],
  ['<i diff:loading.remove></i>', '<i data-diffyne-hidden=""></i>'],
  ['<i disabled class="a" diff:loading.attr.disabled diff:loading.class.b diff:loading.remove.a diff:loading.attr.title.wait></i>',
    '<i disabled="" class="b" title="wait"></i>'],
];
const words = (html) => html.replace(/ data-diffyne-base="[^"]*"/, '').match(/[^\s">=]+/g).sort().join(' ');

test('each kind of diff:loading, several on one element, and then what was there', async () => {
  for (const [html, meanwhile] of LOADING) {
    const { begin, end } = slow(html);
    const before = bare(find('i'));
    await begin();
    assert.equal(words(bare(find('i'))), words(meanwhile), html);
    await end();
    assert.equal(words(bare(find('i'))), words(before), html);
  }
});

test('what the answer sets below an effect stays', async () => {
  const patch = (s, r = []) => [{ t: 'a', p: [1], d: { s, r } }];
  /** @type {[string, any[], string][]} */
  const cells = [
    ['<i diff:loading.attr.disabled></i>', patch({ disabled: '' }), '<i disabled=""></i>'],
    ['<i disabled="" diff:loading.attr.disabled></i>', patch({}, ['disabled']), '<i></i>'],
    ['<i class="a on" diff:loading.remove.on></i>', patch({ class: 'a' }), '<i class="a"></i>'],
    ['<i class="a" diff:loading.class.on></i>', patch({ class: 'b on' }), '<i class="b on"></i>'],
    ['<i style="opacity: 0.8" diff:loading></i>', patch({ style: 'opacity: 0.3' }), '<i style="opacity: 0.3"></i>'],
  ];
  for (const [html, patches, after] of cells) {
    const { begin, end } = slow(html);
    await begin();
    await begin();
    await end(patches);
    await settled();
    assert.ok(find('i').hasAttribute('data-diffyne-base'), 'another call is under way');
    await end();
    assert.equal(words(bare(find('i'))), words(after), html);
  }
});

test('a call that fails is over', async () => {
  const { begin, fail } = slow('<i diff:loading.class.busy></i>');
  await begin();
  await fail();
  assert.equal(find('i').className, '');
});

test('diff:target says which calls are meant; polls and updates are meant only by name', async () => {
  page(component('a', `<p><i diff:loading.class.on></i><i diff:loading.class.on diff:target="save, find(2)"></i><i diff:loading.class.on diff:target="name"></i>
    <i diff:loading.class.on diff:target.except="save"></i><i diff:loading.class.on diff:target="tick"></i></p>`));
  const client = start({ loading }, () => new Promise(() => {}));
  /** @type {[any, string][]} */
  const cells = [
    [{ type: 'call', method: 'save', params: [] }, '11000'],
    [{ type: 'call', method: 'find', params: [2] }, '11010'],
    [{ type: 'call', method: 'find', params: [3] }, '10010'],
    [{ type: 'update', property: 'name', value: 'x' }, '00100'],
    [{ type: 'call', method: 'tick', params: [], isQuiet: true }, '00001'],
  ];
  const own = client.components.get('a');
  for (const [call, shown] of cells) {
    own.running.add(call);
    client.hooks.emit('call', { component: own, ...call });
    await settled();
    assert.equal([...document.querySelectorAll('i')].map((i) => Number(i.className === 'on')).join(''), shown, JSON.stringify(call));
    own.running.delete(call);
    client.hooks.emit('settled', { component: own, ...call });
  }
});

test('.delay shows nothing of a quick call', async (context) => {
  const { begin, end } = slow('<i diff:loading.class.on.delay.long></i><i diff:loading.delay.class.on></i>');
  const shown = () => [...document.querySelectorAll('i')].map((i) => i.className).join(',');
  await begin();
  await end();
  await begin();
  assert.equal(shown(), ',');
  context.mock.timers.enable({ apis: ['setTimeout'] });
  context.mock.timers.reset();
  await settled(220);
  assert.equal(shown(), ',on');
  await settled(100);
  assert.equal(shown(), 'on,on');
  await end();
  assert.equal(shown(), ',');
});

test('a copy of a page in which something was under way begins without it', async () => {
  const { begin } = slow('<i class="a" diff:loading.attr.disabled diff:loading.class.busy diff:loading.remove></i>');
  await begin();
  const copy = document.body.cloneNode(true);
  document.body.replaceWith(copy);
  await settled();
  assert.equal(bare(find('i')), '<i class="a"></i>');
});

test('diff:dirty shows what was typed and not sent', async () => {
  page(component('a', `<p><input id="t" diff:model="title" diff:dirty.class="changed"><input id="n" diff:model="name">
    <b diff:dirty>some</b><em diff:dirty diff:target="name">name</em><s diff:dirty.remove>saved</s>
    <button diff:click="save">x</button></p>`, { state: { title: '', name: 'x' } }));
  start({ model, dirty }, () => answer([], { st: { title: 'new', name: 'x' } }));
  const shown = () => [...document.querySelectorAll('b, em, s')].filter((e) => !e.hasAttribute('data-diffyne-hidden')).map((e) => e.localName).join(' ')
    + (find('#t').className ? ' changed' : '');
  assert.equal(shown(), 's');
  find('#t').value = 'new';
  find('#t').dispatchEvent(new Event('input', { bubbles: true }));
  await settled(2);
  assert.equal(shown(), 'b changed');
  find('button').click();
  await settled(5);
  assert.equal(shown(), 's');
});

test('diff:offline shows while there is no network', () => {
  let isOnline = true;
  Object.defineProperty(navigator, 'onLine', { get: () => isOnline, configurable: true });
  page('<b diff:offline>No network</b><i diff:offline.class="off"></i>');
  start({ offline });
  const shown = () => [find('b').hasAttribute('data-diffyne-hidden'), find('i').className];
  assert.deepEqual(shown(), [true, '']);
  isOnline = false;
  window.dispatchEvent(new Event('offline'));
  assert.deepEqual(shown(), [false, 'off']);
  isOnline = true;
  window.dispatchEvent(new Event('online'));
  assert.deepEqual(shown(), [true, '']);
});

test('diff:show goes by the state', async () => {
  const state = { open: true, none: null, count: 2, name: 'Ada', list: [], user: { admin: false, tags: ['x'] }, zero: '0' };
  const cells = {
    open: true, '!open': false, none: false, count: true, list: false, 'user.tags': true, 'user.admin': false, 'no.such.thing': false,
    'count == 2': true, 'count === 2': true, 'count != 2': false, 'count !== 3': true, 'count > 1': true, 'count >= 3': false, 'count<3': true,
    "name == 'Ada'": true, 'name == "Bob"': false, 'open && count > 5': false, '!open || count > 1': true, 'none == null': true, '!user.admin && open': true,
    "name == 'A == B'": false,
  };
  for (const [expression, expected] of Object.entries(cells)) assert.equal(isTrue(expression, state), expected, expression);
  page(component('a', '<p><b diff:show="open">x</b><button diff:click="toggle">x</button></p>', { state: { open: false } }));
  start({ show }, () => answer([], { st: { open: true } }));
  assert.equal(find('b').hasAttribute('data-diffyne-hidden'), true);
  find('button').click();
  await settled();
  assert.equal(find('b').hasAttribute('data-diffyne-hidden'), false);
});
