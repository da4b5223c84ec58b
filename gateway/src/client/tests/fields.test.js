import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { component, find, fire, page } from './dom.js';
import { settled, start } from './client.js';
import { fieldsIn, modelOf, says, show, rawOf, untouched } from '../field.js';
import { isAhead } from '../typing.js';
import { error } from '../directives/error.js';
import { loading } from '../directives/loading.js';
import { model } from '../directives/model.js';

beforeEach(() => page());

const options = (...values) => values.map((value) => `<option value="${value}">${value}</option>`).join('');
const boxes = (...values) => values.map((value) => `<input type="checkbox" diff:model="p" value="${value}">`).join('');
const radios = (...values) => values.map((value) => `<input type="radio" name="r" diff:model="p" value="${value}">`).join('');
const RAW_LIST = (...values) => JSON.stringify(values);

/** Shows a value of the state in fields; returns what they show and what they say then. */
function shown(html, value) {
  page(component('a', `<div>${html}</div>`));
  const fields = fieldsIn(find('[data-diffyne-component]'));
  for (const field of fields) show(field, value);
  return { raw: fields.map(rawOf), says: says(fields[0], value) };
}

// Each kind of field with each type of the state: what it shows, and what it says then.
/** @type {[string, string, any, any[], any][]} */
const TABLE = [
  ['text, text', '<input diff:model="p">', 'a b', ['a b'], 'a b'],
  ['text, integer', '<input diff:model="p">', 5, ['5'], '5'],
  ['text, null', '<input diff:model="p" value="x">', null, [''], ''],
  ['text, object', '<input diff:model="p" value="x">', { a: 1 }, ['x'], 'x'],
  ['number, float', '<input type="number" step="any" diff:model="p">', 1.05, ['1.05'], '1.05'],
  ['textarea, text', '<textarea diff:model="p"></textarea>', 'a\nb', ['a\nb'], 'a\nb'],
  ['checkbox, true', '<input type="checkbox" diff:model="p">', true, [true], true],
  ['checkbox, false', '<input type="checkbox" diff:model="p" checked>', false, [false], false],
  ['checkbox, "0"', '<input type="checkbox" diff:model="p" checked>', '0', [false], '0'],
  ['checkbox, "1"', '<input type="checkbox" diff:model="p">', '1', [true], '1'],
  ['checkbox, 0', '<input type="checkbox" diff:model="p" checked>', 0, [false], 0],
  ['checkbox, ""', '<input type="checkbox" diff:model="p" checked>', '', [false], false],
  ['checkbox, null', '<input type="checkbox" diff:model="p" checked>', null, [false], false],
  ['checkbox of a word, the word', '<input type="checkbox" diff:model="p" value="yes">', 'yes', [true], 'yes'],
  ['checkbox of a word, another', '<input type="checkbox" diff:model="p" value="yes" checked>', 'no', [false], ''],
  ['checkboxes, an empty list', boxes('a', 'b'), [], [false, false], []],
  ['checkboxes, texts', boxes('a', 'b'), ['b', 'c'], [false, true], ['c', 'b']],
  ['checkboxes, numbers', boxes('1', '2'), [2], [false, true], [2]],
  ['radio, text', radios('a', 'b'), 'b', [false, true], 'b'],
  ['radio, true', radios('1', '0'), true, [true, false], true],
  ['radio, false', radios('1', '0'), false, [false, true], false],
  ['radio, words of false', radios('true', 'false'), false, [false, true], false],
  ['radio, integer', radios('1', '2'), 2, [false, true], '2'],
  ['radio, null', radios('1', '2'), null, [false, false], undefined],
  ['select, text', `<select diff:model="p">${options('a', 'b')}</select>`, 'b', ['b'], 'b'],
  ['select, true', `<select diff:model="p">${options('0', '1')}</select>`, true, ['1'], true],
  ['select, false', `<select diff:model="p">${options('1', '0')}</select>`, false, ['0'], false],
  ['select, integer', `<select diff:model="p">${options('1', '2')}</select>`, 2, ['2'], '2'],
  ['select, null with an empty option', `<select diff:model="p">${options('', '1')}</select>`, null, [''], ''],
  ['select, null without one', `<select diff:model="p">${options('1')}</select>`, null, [null], undefined],
  ['select multiple, texts', `<select multiple diff:model="p">${options('a', 'b', 'c')}</select>`, ['a', 'c'], [RAW_LIST('a', 'c')], ['a', 'c']],
  ['select multiple, numbers', `<select multiple diff:model="p">${options('1', '2')}</select>`, [2], [RAW_LIST('2')], [2]],
  ['select multiple, null', `<select multiple diff:model="p">${options('1')}</select>`, null, [RAW_LIST()], []],
];

test('each kind of field shows each type of the state, and says it again', () => {
  for (const [name, html, value, raw, said] of TABLE) assert.deepEqual(shown(html, value), { raw, says: said }, name);
});

test('what is chosen has the type of what is there', () => {
  page(component('a', `<div>${boxes('1', '2', '3')}</div>`));
  const [one, two, three] = fieldsIn(find('[data-diffyne-component]'));
  one.checked = true;
  three.checked = true;
  assert.deepEqual([says(two, [2, 9]), says(two, []), says(two, ['9']), says(two, null)], [[9, 1, 3], ['1', '3'], ['9', '1', '3'], ['1', '3']]);
});

test('the words behind diff:model say when it is told', () => {
  for (const [words, live, lazy, debounceMs] of /** @type {[string, boolean, boolean, number][]} */ ([
    ['', false, false, 150], ['.live', true, false, 150], ['.live.debounce.250ms', true, false, 250], ['.live.debounce.1s', true, false, 1_000],
    ['.live.debounce', true, false, 150], ['.live.debounce.1', true, false, 1], ['.lazy', false, true, 150],
  ])) {
    page(`<input diff:model${words}="p">`);
    assert.deepEqual(modelOf(find('input')), { property: 'p', live, lazy, debounceMs }, words);
  }
});

test('a field that nobody has touched is known as such', () => {
  for (const html of [
    '<select><option>a</option></select>', '<select><optgroup disabled><option>a</option></optgroup><option>b</option></select>',
    '<select><option disabled>a</option><option>b</option></select>', '<select size="3"><option>a</option></select>', '<select></select>',
    '<select multiple><option>a</option><option selected>b</option></select>', '<textarea>\na</textarea>', '<input name="reset">',
    '<input name="append" value="x">', '<input type="range" value="500">', '<input type="color" value="red">', '<input type="number" value="x">',
    '<input type="checkbox" checked>', '<input type="radio" name="r" checked>', '<input type="date" value="2026-13-01">',
    '<input type="email" value=" a@b.c ">',
  ]) {
    page(html);
    const field = find('select, textarea, input');
    assert.equal(rawOf(field), untouched(field), html);
    if (field.localName === 'input' && field.type !== 'radio') {
      if (field.type === 'checkbox') field.click();
      else field.value = { range: '7', color: '#010203', number: '3', date: '2026-01-01' }[field.type] ?? 'typed';
      assert.notEqual(rawOf(field), untouched(field), html);
    }
  }
});

/** A client for one component, whose server answers what the test puts into `answers`. */
function client(html, state, more = {}) {
  document.body.innerHTML = component('a', html, { state, ...more });
  const answers = [];
  const waiting = [];
  const started = start({ model, error, loading }, (type, data) => {
    const next = answers.shift();
    if (next?.fails) throw Object.assign(new Error('no'), { type: 'validation_error', details: { errors: {} } });
    const st = next?.state ?? { ...data.state, ...(type === 'update' ? { [data.property]: data.value } : {}) };
    const answer = { s: true, c: { p: next?.patches ?? [], st, f: 'f', sig: 's' } };
    return next?.wait ? new Promise((resolve) => { waiting.push(() => resolve(answer)); }) : answer;
  });
  return { ...started, answers, go: async () => { waiting.shift()(); await settled(); } };
}

async function typeInto(field, text) {
  field.focus();
  field.value = text;
  fire(field, 'input');
  await settled();
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

test('a focused field keeps its own spelling of what was sent, and shows the state when it is left', async () => {
  for (const [typed, state, later] of [['1.0', 1, '1'], ['ab ', 'ab', 'ab'], ['A', 'a', 'a']]) {
    const { answers, sent } = client('<p><input diff:model.live.debounce.1="p"></p>', { p: '' });
    answers.push({ state: { p: state } });
    await typeInto(find('input'), typed);
    await pause(5);
    assert.equal(sent.at(-1).value, typed);
    assert.equal(find('input').value, typed, 'while somebody types');
    find('input').blur();
    assert.equal(find('input').value, later);
  }
});

test('an update whose answer empties its field empties it, also while it has the focus', async () => {
  const { answers } = client('<p><input diff:model.live.debounce.1="p"></p>', { p: '' });
  answers.push({ state: { p: '' } });
  await typeInto(find('input'), 'code');
  await pause(5);
  assert.equal(find('input').value, '');
});

test('a call takes along what a debounced field says, and nothing comes after it', async () => {
  const { answers, sent } = client('<form diff:submit="send"><input diff:model.live.debounce.10="p"></form>', { p: '' });
  answers.push({ state: { p: '' } });
  await typeInto(find('input'), 'hello');
  fire(find('form'), 'submit');
  await pause(30);
  assert.deepEqual(sent.map((call) => [call.type, call.state.p]), [['call', 'hello']]);
  assert.equal(find('input').value, '');
});

test('radio buttons do not jump back under a slow update', async () => {
  const { answers, sent, go } = client(`<p>${radios('a', 'b', 'c')}</p>`, { p: 'a' });
  answers.push({ wait: true });
  const [, b, c] = document.querySelectorAll('input');
  b.click();
  await settled();
  c.click();
  await go();
  await settled();
  assert.deepEqual(sent.map(({ value }) => value), ['b', 'c']);
  assert.equal(c.checked, true);
});

test('what is shown is what is sent, whoever has changed the field', async () => {
  const select = `<select diff:model="q">${options('1', '2')}</select>`;
  const { sent } = client(`<form><input diff:model="p">${select}<b diff:click="go">x</b></form>`, { p: 'a', q: '2' });
  find('input').value = 'silent';
  find('b').click();
  await settled();
  assert.equal(sent.at(-1).state.p, 'silent');
  find('form').reset();
  await settled();
  await settled();
  assert.deepEqual([sent.at(-1).type, sent.at(-1).property, sent.at(-1).value], ['update', 'q', '1'], 'a choice is told at once');
  find('b').click();
  await settled();
  assert.deepEqual([sent.at(-1).state.p, find('input').value], ['', '']);
});

test('a field that was filled in before the script came is ahead of the state', () => {
  const fields = '<input id="x" diff:model="p"><input diff:model="q" value="old"><input type="range" diff:model="r">';
  document.body.innerHTML = component('a', `<p>${fields}</p>`, { state: { p: 's', q: 't', r: 7 } });
  find('#x').value = 'restored';
  start({ model });
  assert.deepEqual([...document.querySelectorAll('input')].map((field) => [field.value, isAhead(field)]), [['restored', true], ['t', false], ['7', false]]);
});

test('a textarea that was typed into shows what the server makes of it', async () => {
  const { answers } = client('<p><textarea diff:model="p"></textarea><textarea id="free">a</textarea><b diff:click="go">x</b></p>', { p: 'x' });
  await typeInto(find('textarea'), 'typed');
  find('#free').value = 'mine';
  answers.push({ state: { p: 'made' }, patches: [{ t: 't', p: [1, 0], d: { x: 'b' } }] });
  find('b').click();
  await settled();
  assert.deepEqual([find('textarea').value, find('#free').value], ['made', 'b']);
});

test('a field that is made anew keeps what was typed, its focus and its selection; one of another type shows the state', async () => {
  const fields = '<b><input diff:model="p"></b><i><input diff:model="q"></i>';
  const { answers, go } = client(`<p>${fields}<u diff:click="go">x</u></p>`, { p: 'a', q: 'b' });
  const fresh = (path, property, more = {}) => ({ t: 'R', p: path, d: { node: { t: 'input', a: { 'diff:model': property, ...more } } } });
  answers.push({ wait: true, state: { p: 'a', q: 5 }, patches: [fresh([0, 0], 'p'), fresh([1, 0], 'q', { type: 'number' })] });
  find('u').click();
  await settled();
  await typeInto(find('i input'), '12');
  await typeInto(find('b input'), 'typed');
  find('b input').setSelectionRange(1, 2);
  const old = find('b input');
  await go();
  assert.notEqual(find('b input'), old);
  assert.deepEqual([find('b input').value, document.activeElement, find('b input').selectionStart], ['typed', find('b input'), 1]);
  assert.equal(find('i input').value, '5');
});

test('half a number is neither sent nor overwritten', async () => {
  const { answers, sent } = client('<p><input type="number" diff:model.live.debounce.1="p"><u diff:click="go">x</u></p>', { p: 5 });
  const field = find('input');
  Object.defineProperty(field, 'validity', { value: { badInput: true }, configurable: true });
  // jsdom shows nothing of it, as a browser tells nothing.
  await typeInto(field, '');
  await pause(5);
  assert.equal(sent.length, 0, 'no update');
  answers.push({ state: { p: 7 } });
  find('u').click();
  await settled();
  assert.deepEqual([sent[0].state.p, field.value], [5, ''], 'the answer does not write over it');
  delete field.validity;
  await typeInto(field, '-5');
  await pause(5);
  assert.deepEqual([sent.at(-1).value, field.value], ['-5', '-5']);
});

test('what was typed stays with its property when patches bind the elements to other ones', async () => {
  // Fields without a key: the first is gone, so each element becomes the one behind it.
  const field = (property) => `<p><input diff:model="${property}"></p>`;
  const { answers, go } = client(`<div>${field('a')}${field('b')}${field('c')}<u diff:click="go">x</u></div>`, { a: '1', b: '2', c: '3' });
  const bind = (index, property) => ({ t: 'a', p: [index, 0], d: { s: { 'diff:model': property } } });
  answers.push({ wait: true, state: { b: '2', c: '3' }, patches: [{ t: 'r', p: [2] }, bind(0, 'b'), bind(1, 'c')] });
  find('u').click();
  await settled();
  const [a, b, c] = document.querySelectorAll('input');
  await typeInto(a, 'of a');
  await typeInto(c, 'of c');
  c.setSelectionRange(1, 2);
  await go();
  assert.deepEqual([c.isConnected, a.value, b.value], [false, '2', 'of c']);
  assert.deepEqual([document.activeElement, b.selectionStart, isAhead(a), isAhead(b)], [b, 1, false, true]);
});

test('what is left says what no browser tells: a lazy field that was made anew, a live one that is bound to another property', async () => {
  const fields = '<input diff:model.lazy="p"><input diff:model.live.debounce.5="q">';
  const { answers, sent, go } = client(`<p>${fields}<u diff:click="go">x</u></p>`, { p: '', q: '', r: '' });
  const fresh = { t: 'R', p: [0], d: { node: { t: 'input', a: { 'diff:model.lazy': 'p' } } } };
  const bound = { t: 'a', p: [1], d: { s: { 'diff:model.live.debounce.5': 'r' } } };
  const other = { t: 'c', p: [2], d: { node: { t: 'input', a: { 'diff:model': 'q' } } } };
  answers.push({ wait: true, state: { p: '', q: '', r: '' }, patches: [fresh, bound, other] });
  find('u').click();
  await settled();
  find('input').value = 'lazy';
  find('input').focus();
  const live = document.querySelectorAll('input')[1];
  live.value = 'live';
  fire(live, 'input');
  await go();
  await pause(10);
  assert.deepEqual(sent.slice(1).map(({ property, value }) => [property, value]), [['q', 'live']]);
  fire(find('input'), 'focusout');
  await settled();
  await settled();
  assert.deepEqual(sent.slice(2).map(({ property, value }) => [property, value]), [['p', 'lazy']]);
  // Where the browser tells the change, it is said once, also when it fails.
  answers.push({ fails: true });
  find('input').value = 'again';
  fire(find('input'), 'input');
  fire(find('input'), 'change');
  fire(find('input'), 'focusout');
  await pause(5);
  assert.deepEqual(sent.slice(3).map(({ value }) => value), ['again']);
});

test('the word of an input method is not overwritten before it is finished, and told as it stands', async () => {
  const { answers, sent, go } = client('<p><input diff:model.live.debounce.1="p"><input diff:model="q"><u diff:click="go">x</u></p>', { p: '', q: '' });
  const [field, plain] = document.querySelectorAll('input');
  fire(field, 'compositionstart');
  answers.push({ state: { p: 'NI', q: '' } });
  await typeInto(field, 'ni');
  await pause(5);
  assert.deepEqual([sent[0].value, field.value], ['ni', 'ni']);
  answers.push({ state: { p: 'other', q: '' } });
  find('u').click();
  await settled();
  assert.deepEqual([sent[1].state.p, field.value], ['NI', 'ni']);
  await typeInto(field, '你');
  fire(field, 'compositionend');
  await pause(5);
  assert.deepEqual([sent.length, sent[2].value, field.value], [3, '你', '你']);
  // A call takes a word along, and its answer comes when the same one is finished.
  fire(plain, 'compositionstart');
  await typeInto(plain, 'にほん');
  answers.push({ wait: true, state: { p: '你', q: 'にほん' } });
  find('u').click();
  await settled();
  fire(plain, 'compositionend');
  await go();
  assert.deepEqual([sent[3].state.q, plain.value], ['にほん', 'にほん']);
});

test('a form that is sent twice says the same thing once', async () => {
  const { answers, sent, go } = client('<form diff:submit="send"><input diff:model="p"></form>', { p: '' });
  const submit = () => fire(find('form'), 'submit');
  await typeInto(find('input'), 'order');
  answers.push({ wait: true }, { state: { p: '' } }, {});
  submit();
  submit();
  await settled();
  await typeInto(find('input'), 'another');
  submit();
  await go();
  await settled();
  submit();
  await settled();
  assert.deepEqual(sent.map(({ state }) => state.p), ['order', 'another', '']);
});

test('a form that is sent twice while an update of its field is under way is sent once', async () => {
  const { answers, sent, go } = client('<form diff:submit="send"><input diff:model.lazy="p"></form>', { p: '' });
  await typeInto(find('input'), 'order');
  answers.push({ wait: true, state: { p: 'order' } }, { wait: true, state: { p: '' } });
  fire(find('input'), 'change');
  await settled();
  fire(find('form'), 'submit');
  await go();
  fire(find('form'), 'submit');
  await go();
  await settled();
  assert.deepEqual(sent.map(({ type }) => type), ['update', 'call']);
});

test('a box that comes to stand for another value shows that one', async () => {
  const { answers, go } = client(`<div>${boxes('a', 'b')}<u diff:click="go">x</u></div>`, { p: [] });
  const stand = (index, value) => ({ t: 'a', p: [index], d: { s: { value } } });
  answers.push({ wait: true, state: { p: [] }, patches: [stand(0, 'b'), stand(1, 'c')] });
  find('u').click();
  await settled();
  const [first, second] = document.querySelectorAll('input');
  second.click();
  await go();
  assert.deepEqual([first.checked, second.checked], [true, false], 'b was chosen');
});

test('a component within a component speaks for itself', async () => {
  const inner = component('b', '<p class="inner" diff:loading.class.busy><input diff:model="p"><em diff:error="p">inner fault</em></p>', { state: { p: '' } });
  const { answers, sent, go } = client(`<div><input diff:model="p"><em diff:error="p">fault</em><b diff:click="go">x</b>${inner}</div>`, { p: '' });
  answers.push({ wait: true });
  await typeInto(find('.inner input'), 'child');
  find('b').click();
  await settled();
  assert.equal(sent[0].state.p, '', 'its text is not sent by the parent');
  assert.equal(find('.inner').className, 'inner', 'and does not show the loading state of its parent');
  await go();
  assert.deepEqual([find('em').textContent, find('.inner em').textContent, find('.inner input').value], ['', 'inner fault', 'child']);
});
