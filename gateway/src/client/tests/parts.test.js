import assert from 'node:assert/strict';
import { test } from 'node:test';
import { component, find, page } from './dom.js';
import { readLines } from '../ajax.js';
import { endParts, showPart } from '../parts.js';

const HTML = `<main><p diff:stream="answer"><b>old</b> text</p>${component('b', '<p id="inner" diff:stream="answer"></p>')}</main>`;
const part = (content, more = {}) => ({ componentId: 'a', to: 'answer', content, ...more });
const text = () => find('p').textContent;

test('parts are added to what an element shows, and the answer finds it as it was', () => {
  page(component('a', HTML));
  const bold = find('b');
  showPart(1, part('one '));
  showPart(1, part('<i>two</i>'));
  assert.equal(text(), 'old textone <i>two</i>');
  assert.equal(find('p').childNodes.length, 3, 'one node for all');
  showPart(1, part('three', { replace: true }));
  showPart(1, part(' four'));
  assert.equal(text(), 'three four');
  endParts(1);
  assert.equal(find('p').innerHTML, '<b>old</b> text');
  assert.equal(find('b'), bold);
  assert.equal(find('#inner').textContent, '', 'that is another component');
});

test('what another answer has put there stays', () => {
  page(component('a', HTML));
  showPart(1, part('one'));
  find('p').textContent = 'new';
  showPart(1, part(' two'));
  assert.equal(text(), 'new two');
  endParts(1);
  assert.equal(text(), 'new');
  endParts(1);
  showPart(2, { ...part('x'), to: 'nowhere' });
  showPart(2, { ...part('x'), componentId: 'gone' });
  endParts(2);
});

test('an answer in lines shows its parts however they are cut, and is the last line', async () => {
  page(component('a', HTML));
  const lines = `${['é', 'b'].map((content) => JSON.stringify({ event: 'diffyne.part', data: part(content) })).join('\n')}
{"event":"diffyne.response","data":{"s":true,"n":12345678901234567890}}\n`;
  const seen = [];
  const bytes = new TextEncoder().encode(lines);
  const body = new ReadableStream({
    async start(controller) {
      for (const byte of bytes) {
        controller.enqueue(Uint8Array.of(byte));
        await new Promise((resolve) => { setTimeout(resolve); });
        if (text() !== seen.at(-1)) seen.push(text());
      }
      controller.close();
    },
  });
  let heard = 0;
  const answer = await readLines({ body }, () => { heard++; });
  assert.equal(answer.s, true);
  assert.deepEqual(seen, ['old text', 'old texté', 'old textéb']);
  assert.ok(heard >= 3);
  assert.equal(text(), 'old text');
});
