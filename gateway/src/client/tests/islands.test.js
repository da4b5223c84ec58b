import assert from 'node:assert/strict';
import { test } from 'node:test';

import { component, find, page } from './dom.js';
import { settled, started } from './client.js';
import { applyIslands } from '../islands.js';
import { islandOf } from '../dom.js';
import { model } from '../directives/model.js';
import { init } from '../directives/init.js';
import { poll } from '../directives/poll.js';

const HTML = `<main><p>rest</p><button id="out" diff:click="go">x</button><button id="named" diff:render="part" diff:click="go">x</button>
  <section diff:island="part"><b>1</b><button id="in" diff:click="go(1)">x</button><input diff:model.live.debounce.1="word">
    <i diff:init="begin"></i><button id="up" diff:render="" diff:click="go">x</button><p diff:island="inner"><button id="inner" diff:click="go">x</button></p>
    ${component('b', '<p><button id="other" diff:click="go">x</button></p>')}</section></main>`;
const text = (path, x) => ({ t: 't', p: path, d: { x } });
const apply = (islands) => applyIslands(find('[diff\\:id=a]'), islands, () => false);

test('a call says which part of its component it is to render', async () => {
  page(component('a', HTML, { state: { word: '' } }));
  const client = await started({ model, init }, () => ({ s: true }));
  for (const id of ['out', 'named', 'in', 'up', 'inner', 'other']) find(`#${id}`).click();
  find('input').value = 'w';
  find('input').dispatchEvent(new Event('input', { bubbles: true }));
  await settled(20);
  const asked = client.sent.map(({ componentId, type, method, island }) => [componentId, method ?? type, island || null].join(' '));
  assert.deepEqual(asked.sort(), ['a begin part', 'a go ', 'a go ', 'a go inner', 'a go part', 'a go part', 'a update part', 'b go ']);
});

test('a poll within an island renders the island alone', async () => {
  const html = `<main><i diff:poll="10" diff:poll.action="all"></i><b>1</b>
    <section diff:island="part"><i diff:poll="10" diff:poll.action="tick"></i><u>1</u></section></main>`;
  page(component('a', html));
  const change = { t: 't', p: [1, 0], d: { x: '2' } };
  const client = await started({ poll }, (type, { method }) =>
    method === 'tick' ? { s: true, c: { p: [], islands: { part: [change] }, st: {}, f: 'f', sig: 's' } } : { s: true });
  while (find('u').textContent !== '2') await settled(5);
  const asked = new Set(client.sent.map(({ method, island, background }) => [method, island || null, background].join(' ')));
  assert.deepEqual([...asked].sort(), ['all  true', 'tick part true']);
  assert.equal(find('b').textContent, '1');
  page();
});

test('patches lead from the element of an island, and leave the rest alone', () => {
  page(component('a', HTML));
  const element = find('section');
  const faults = apply({ part: [text([0, 0], '2'), { t: 'c', p: [1], d: { node: { t: 'u', c: [{ x: 'new' }] } } }], inner: [] });
  assert.deepEqual(faults, []);
  assert.deepEqual([find('b').textContent, find('u').parentNode, find('p').textContent], ['2', element, 'rest']);
});

test('an island that is made anew keeps its element', () => {
  for (const t of ['R', 'c']) {
    page(component('a', HTML));
    const element = find('section');
    element.id = 'kept';
    const node = { t: 'section', c: [{ x: 'all ' }, { t: 'i', c: [{ x: 'new' }] }] };
    assert.deepEqual(apply({ part: [{ t, p: [], d: { node } }] }), []);
    assert.equal(find('#kept').outerHTML, '<section diff:island="part" id="kept">all <i>new</i></section>');
  }
});

test('patches that do not fit are faults, and an island that is not shown is none', () => {
  page(component('a', HTML));
  const faults = apply({ gone: [text([0], 'x')], part: [text([99], 'x'), text([0, 0], '3')] });
  assert.deepEqual(faults.map(({ message }) => message), ['the patch t at 99 cannot be applied: there is no such node']);
  assert.equal(find('b').textContent, '3');
});

test('an element that is in no island asks for the whole component', () => {
  page(component('a', HTML));
  assert.equal(islandOf(find('p')), null);
  assert.equal(islandOf(document.createElement('p')), null);
});
