import assert from 'node:assert/strict';
import { test } from 'node:test';

import { component, find, fire, page } from './dom.js';
import { settled, started } from './client.js';

// [directive of #x, event, what the event is like, where it happens, the calls]
const CELLS = [
  ['diff:click', 'click', {}, '#x', ['go']],
  ['diff:click', 'click', {}, '#inner', ['go']],
  ['diff:input', 'input', {}, '#inner', ['go']],
  ['diff:keydown', 'keydown', { key: 'a' }, '#x', ['go']],
  ['diff:keydown.enter', 'keydown', { key: 'Enter' }, '#x', ['go']],
  ['diff:keydown.enter', 'keydown', { key: 'a' }, '#x', []],
  ['diff:keydown.enter', 'keydown', { key: 'Enter', isComposing: true }, '#x', []],
  ['diff:keydown.esc', 'keydown', { key: 'Escape' }, '#x', ['go']],
  ['diff:keydown.arrow-down', 'keydown', { key: 'ArrowDown' }, '#x', ['go']],
  ['diff:keyup.space', 'keyup', { key: ' ' }, '#x', ['go']],
  ['diff:keydown.shift.enter', 'keydown', { key: 'Enter' }, '#x', []],
  ['diff:keydown.shift.enter', 'keydown', { key: 'Enter', shiftKey: true }, '#x', ['go']],
  ['diff:keydown.window.escape', 'keydown', { key: 'Escape' }, 'body', ['go']],
  ['diff:click.self', 'click', {}, '#inner', ['outer']],
  ['diff:click.self', 'click', {}, '#x', ['go']],
  ['diff:click.outside', 'click', {}, '#x', ['outer']],
  ['diff:click.outside', 'click', {}, '#outer', ['outer', 'go']],
  ['diff:mouseenter', 'mouseenter', { bubbles: false }, '#x', ['go']],
  ['diff:some-thing', 'some-thing', {}, '#inner', ['go']],
];

const markup = (directive) => component('a', `<div id="outer" diff:click="outer"><div id="x" ${directive}="go"><i id="inner"></i></div></div>`);

test('any event calls, by its key, its modifiers and its place', async () => {
  for (const [directive, type, init, place, calls] of CELLS) {
    page(markup(directive));
    const client = await started({});
    fire(find(place), type, init);
    await settled();
    assert.deepEqual(client.sent.map(({ method }) => method), calls, `${directive}, ${type} at ${place}`);
  }
});

test('.prevent and .stop do that, and .once calls once', async () => {
  page(markup('diff:click.prevent.stop.once'));
  const client = await started({});
  let heard = 0;
  find('#outer').addEventListener('click', () => { heard += 1; });
  assert.equal(fire(find('#x'), 'click'), false);
  fire(find('#x'), 'click');
  await settled();
  assert.deepEqual([client.sent.length, heard], [1, 0]);
});

const PACES = { 'diff:input.debounce.300ms': [0, 0, 1], 'diff:input.throttle.300': [1, 1, 1], 'diff:input.debounce': [0, 1, 1] };

test('.debounce waits for a pause, .throttle makes one', async (context) => {
  for (const [directive, after] of Object.entries(PACES)) {
    page(markup(directive));
    const client = await started({});
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const counts = [];
    for (const ms of [0, 260, 60]) {
      if (!ms) for (let i = 0; i < 3; i += 1) fire(find('#x'), 'input');
      context.mock.timers.tick(ms);
      await Promise.resolve();
      counts.push(client.sent.length);
    }
    assert.deepEqual(counts, after, directive);
    context.mock.timers.reset();
  }
});

test('a form is sent by its component, and not by the browser', async () => {
  page(`${component('a', '<form diff:submit="save"><button>x</button></form>')}<form id="own" diff:submit="save"></form>`);
  const client = await started({});
  assert.equal(fire(find('form'), 'submit'), false);
  assert.equal(fire(find('#own'), 'submit'), true, 'no component is around it');
  await settled();
  assert.deepEqual(client.sent.map(({ method }) => method), ['save']);
});

test('directives follow the page: what comes, changes and goes', async () => {
  page(markup('diff:click'));
  const client = await started({});
  const x = find('#x');
  x.setAttribute('diff:click', 'other');
  await settled();
  x.click();
  x.removeAttribute('diff:click');
  x.insertAdjacentHTML('beforeend', '<b diff:click="late(1)"></b>');
  await settled();
  find('b').click();
  fire(x, 'click', { bubbles: false });
  find('#outer').append(x);
  await settled();
  find('b').click();
  await settled();
  assert.deepEqual(client.sent.map(({ method }) => method), ['other', 'late', 'late']);
});
