import assert from 'node:assert/strict';
import { test } from 'node:test';
import { component, find, page } from './dom.js';
import { applyStreams } from '../streams.js';

const show = (items, more = '') =>
  page(component('a', `<main><ul diff:stream="posts">${items.map(li).join('')}</ul>${more}</main>`));
const li = (key) => `<li diff:key="${key}">${key}</li>`;
const shown = (selector = '[diff\\:stream=posts]') => [...find(selector).children].map((item) => item.textContent).join(' ');
const apply = (...changes) => applyStreams(find('[diff\\:id=a]'), changes.map((change) => ({ n: 'posts', ...change })), { p: 's' });
const insert = (key, at, html = li(key)) => ({ insert: { key, at, html } });

globalThis.getComputedStyle = window.getComputedStyle.bind(window);

test('items are appended, prepended, inserted and removed', () => {
  show(['a', 'b']);
  apply(insert('c', -1), insert('z', 0), insert('y', 1), insert('far', 99), { delete: 'a' }, { delete: 'nobody' });
  assert.equal(shown(), 'z y b c far');
});

test('an item that is there takes its new form where it is', () => {
  show(['a', 'b', 'c']);
  apply(insert('b', -1, '<li diff:key="b">new</li>'), insert('b', 0, '<li diff:key="b">newer</li>'));
  assert.equal(shown(), 'a newer c');
});

test('a limit takes items from the other end, also those that have just come', () => {
  show(['a', 'b', 'c']);
  apply(insert('d', -1), { keepLast: 2 });
  assert.equal(shown(), 'c d');
  apply(insert('b', 0), { keepFirst: 2 }, insert('d', -1), { keepFirst: 0 });
  assert.equal(shown(), '');
  show(['a']);
  apply({ reset: true }, insert('b', -1));
  assert.equal(shown(), 'b');
});

test('rows stay rows, and a stream of a component inside, or of nobody, is left alone', () => {
  page(component('a', `<table><tbody diff:stream="posts"></tbody></table>${component('b', '<ul diff:stream="others"></ul>')}`));
  apply(insert('1', -1, '<tr diff:key="1"><td>one</td></tr>'), { n: 'others', ...insert('x', -1) }, { n: 'gone', ...insert('x', -1) });
  assert.equal(find('tbody').innerHTML, '<tr diff:key="1"><td>one</td></tr>');
  assert.equal(shown('[diff\\:stream=others]'), '');
});

test('what is typed in an item stays when the item comes anew, and fields of new items show the state', () => {
  show(['1']);
  const field = (id) => `<li diff:key="${id}"><input id="f${id}" diff:model="p"></li>`;
  apply({ insert: { key: '2', at: -1, html: field(2) } });
  assert.equal(find('#f2').value, 's');
  find('#f2').value = 'typed';
  find('#f2').focus();
  find('#f2').setSelectionRange(1, 2);
  apply({ insert: { key: '2', at: -1, html: field(2) } }, { insert: { key: '3', at: -1, html: field(3) } });
  assert.deepEqual([find('#f2').value, document.activeElement, find('#f2').selectionStart, find('#f3').value], ['typed', find('#f2'), 1, 's']);
});
