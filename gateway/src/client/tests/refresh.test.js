import assert from 'node:assert/strict';
import { test } from 'node:test';

import { component, find, page } from './dom.js';
import { start } from './client.js';
import { refresh } from '../refresh.js';
import { model } from '../directives/model.js';

test('a component that is fetched anew keeps what was typed, and the focus', async () => {
  const fields = '<p><input id="a" diff:model="a"><input id="b" diff:model="b"><input name="c"><input name="c"><textarea>t</textarea></p>';
  const shown = (state) => component('x', fields, { state });
  page(shown({ a: '', b: 'old' }));
  const { components } = start({ model });
  find('#a').value = 'typed';
  document.querySelectorAll('[name=c]')[1].setAttribute('class', 'second');
  find('.second').value = 'second';
  find('#b').focus();
  find('#b').setSelectionRange(1, 2);
  globalThis.fetch = /** @type {any} */ (async () => ({ ok: true, text: async () => shown({ a: '', b: 'new' }) }));
  const old = find('#b');
  await refresh((before, fresh) => components.replace(before, fresh));
  assert.equal(old.isConnected, false);
  assert.deepEqual([find('#a').value, document.activeElement, find('#b').selectionStart], ['typed', find('#b'), 1]);
  /** @type {any[]} */
  const others = [...document.querySelectorAll('[name=c], textarea')];
  assert.deepEqual(others.map(({ value }) => value), ['', 'second', 't'], 'fields of the page as well');
});
