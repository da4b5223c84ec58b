import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fire, find, page } from './dom.js';
import { settled } from './client.js';
import '../offer.js'; // so that it is there at once
import { Release } from '../release.js';

// jsdom has no sheets made by scripts.
globalThis.CSSStyleSheet = /** @type {any} */ (class { replaceSync() {} });
document.adoptedStyleSheets ??= [];
const kept = new Map();
globalThis.sessionStorage = /** @type {any} */ ({ getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value) });

const COUNTER = '<div diff:id="a" diff:release="one"></div><div diff:id="b"></div>';
const bar = () => find('.diffyne-stale');
const fresh = (html = COUNTER) => {
  kept.clear();
  page(html);
  return new Release(() => false);
};

test('a component tells its own release, the one that the page names, or the one that was served when the page came', async () => {
  const release = fresh();
  assert.equal(release.of('a').components, 'one');
  assert.equal(release.of('b').components, '');
  release.greeted({ components: 'served' });
  await settled(5);
  release.greeted({ components: 'served later' });
  await settled(5);
  assert.equal(release.of('b').components, 'served');
  document.body.dataset.diffyneRelease = 'named';
  assert.equal(release.of('b').components, 'named');
  assert.equal(release.of('a').components, 'one');
  delete document.body.dataset.diffyneRelease;
});

test('a page that does not know its release takes that of its first answer', async () => {
  const release = fresh();
  release.answered(release.of('b'), { components: 'two' });
  await settled(5);
  assert.equal(bar(), null);
  release.answered(release.of('b'), { components: 'three' });
  await settled(5);
  assert.ok(bar());
});

test('each release is told once in a tab, also after the page was loaded again', async () => {
  let release = fresh();
  release.answered(release.of('a'), { components: 'two' });
  await settled(5);
  release.answered(release.of('a'), { components: 'three' });
  await settled(5);
  assert.equal(document.querySelectorAll('.diffyne-stale').length, 1);
  fire(find('.diffyne-stale button:nth-of-type(2)'), 'click');
  assert.equal(bar(), null);
  release = new Release(() => false);
  release.answered(release.of('a'), { components: 'two' });
  await settled(5);
  assert.equal(bar(), null, 'the tab remembers');
  release.answered(release.of('a'), { components: 'three' });
  await settled(5);
  assert.ok(bar());
});

test('a script of the page may take over, and words are the page’s', async () => {
  const release = fresh('<div diff:id="a" diff:release="one" data-diffyne-stale-texts="Neu!|Laden|Später"></div>');
  const own = (event) => event.preventDefault();
  document.addEventListener('diffyne:stale', own);
  release.answered(release.of('a'), { scripts: 'four' });
  await settled(5);
  assert.equal(bar(), null);
  document.removeEventListener('diffyne:stale', own);
  release.answered(release.of('a'), { scripts: 'four' });
  await settled(5);
  assert.equal(bar().textContent, 'Neu!LadenSpäter');
  assert.equal(bar().getAttribute('role'), 'status');
});
