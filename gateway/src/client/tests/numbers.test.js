import assert from 'node:assert/strict';
import { test } from 'node:test';

import { print, read, shown } from '../numbers.js';
import { keepParams } from '../params.js';

test('what is read is printed as it came', () => {
  const texts = [
    '{"id":432224099704639488}', '[1,-9007199254740993,"9007199254740993"]', '{"10":1,"9":2}',
    '{"a":{"b":[12345678901234567890]}}', '{"t":"\\"1234567890123456"}', 'null', '1.5e3', '[]',
  ];
  for (const text of texts) assert.equal(print(read(text)), text === '1.5e3' ? '1500' : text);
});

test('a number that was changed is printed as it is', () => {
  const state = read('{"id":432224099704639488}');
  state.id = 5;
  assert.equal(print(state), '{"id":5}');
});

test('integers are shown as text, the others as they are', () => {
  assert.deepEqual(shown(read('{"id":432224099704639488,"n":1}')), { id: '432224099704639488', n: 1 });
});

test('integers of an action are kept', () => {
  const params = [1, Number('432224099704639488'), 'a'];
  keepParams(params, "1, 432224099704639488, 'a'");
  assert.equal(print(params), '[1,432224099704639488,"a"]');
});
