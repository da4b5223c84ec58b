import assert from 'node:assert/strict';
import { test } from 'node:test';

import { component, find, page } from './dom.js';
import { settled, started } from './client.js';
import { parseAction } from '../parameters.js';
import { print } from '../numbers.js';

const event = Object.assign(new Event('x'), { key: 'Enter', detail: { a: [1] } });

/** @type {[string, string, any[]][]} */
const ACTIONS = [
  ['save', 'save', []],
  ['save()', 'save', []],
  [' save ( ) ;', 'save', []],
  ["add(1, 'x', true)", 'add', [1, 'x', true]],
  ['add(-1.5e3, null, undefined, false)', 'add', [-1500, null, null, false]],
  ['add(bare, 007, v1.2)', 'add', ['bare', '007', 'v1.2']],
  [String.raw`add('it\'s', "a \"b\"", 'a\\b', 'x\ny', 'caf\u00e9abc', '\x41', '\u{1F600}')`, 'add', ["it's", 'a "b"', 'a\\b', 'x\ny', 'caféabc', 'A', '😀']],
  ["add('a, b', 'c) d', '{e')", 'add', ['a, b', 'c) d', '{e']],
  ['add([1, [2, 3], []], {})', 'add', [[1, [2, 3], []], {}]],
  ["add({ id: 1, 'name': 'x', \"tags\": ['a', 'b'], 5: null })", 'add', [{ id: 1, name: 'x', tags: ['a', 'b'], 5: null }]],
  ['add([1, 2,], { a: 1, },)', 'add', [[1, 2], { a: 1 }]],
  [String.raw`add(JSON.parse('{\u0022a\u0022:\u0022it\\u0027s\u0022}'), 2)`, 'add', [{ a: "it's" }, 2]],
  ['add($event.key, $event.detail.a, $event.no.such, $event)', 'add', ['Enter', [1], null, null]],
  ["add('äöü ✓')", 'add', ['äöü ✓']],
];

test('an action is a method with parameters of every kind', () => {
  for (const [text, method, params] of ACTIONS) assert.deepEqual(parseAction(text, event), { method, params }, text);
});

test('integers that JavaScript changes are kept wherever they stand', () => {
  const { params } = parseAction("find(432224099704639488, [9007199254740993], { id: 12345678901234567890, text: '432224099704639488' })");
  assert.equal(print(params), '[432224099704639488,[9007199254740993],{"id":12345678901234567890,"text":"432224099704639488"}]');
});

test('what is no action calls nothing, and runs nothing', (context) => {
  const warn = context.mock.method(console, 'warn', () => {});
  const others = ['', 'a b', 'a.b()', 'a(', 'a(1 2)', 'a(b())', 'a([1)', "a('x)", 'a({)', 'a(1);b(2)', 'a(JSON.parse(1))', 'alert`1`'];
  for (const text of others) assert.equal(parseAction(text), null, text);
  assert.equal(warn.mock.callCount(), others.length);
});

test('diff:confirm asks first, by the browser or by a dialog of the page', async () => {
  page(component('a', `<p><button id="b" diff:click="remove" diff:confirm="Really?\\nYes?">x</button>
    <button id="p" diff:click="wipe" diff:confirm.prompt="Type WIPE|WIPE">x</button>
    <form id="f" diff:submit="send"><button id="s" diff:confirm="Send?">x</button></form></p>`));
  const client = await started({});
  const asked = [];
  const answers = { 'Really?\nYes?': false, 'Type WIPE': 'wipe', 'Send?': true };
  window.confirm = window.prompt = /** @type {any} */ ((text) => { asked.push(text); return answers[text]; });
  for (const id of ['b', 'p', 's']) find(`#${id}`).click();
  await settled(20);
  assert.deepEqual(asked, ['Really?\nYes?', 'Type WIPE', 'Send?']);
  assert.deepEqual(client.sent.map(({ method }) => method), ['send']);
  answers['Type WIPE'] = 'WIPE';
  find('#p').click();
  await settled(20);
  client.hooks.on('confirm', (ask) => { ask.answer = Promise.resolve(ask.message.startsWith('Really')); });
  find('#b').click();
  await settled(20);
  assert.deepEqual(client.sent.map(({ method }) => method).sort(), ['remove', 'send', 'wipe']);
});
