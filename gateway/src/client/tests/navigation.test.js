import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { component, find, page } from './dom.js';
import { settled, start } from './client.js';
import { Address } from '../address.js';
import { Hooks } from '../hooks.js';
import { navigate } from '../directives/navigate.js';

const pages = {};
let fetched = [];
window.scrollTo = /** @type {any} */ (() => {});

beforeEach(() => {
  start({});
  page('', '/first');
  fetched = [];
  globalThis.fetch = /** @type {any} */ (async (address) => {
    const { pathname, href } = new URL(address, location.href);
    fetched.push(pathname);
    const html = pages[pathname];
    const ok = html !== undefined;
    return { ok, status: ok ? 200 : 404, url: href, text: async () => html, headers: new Headers({ 'Content-Type': 'text/html' }) };
  });
});

test('a page comes with its title, its head and its body, and replaces what is the old page\'s', async () => {
  document.head.innerHTML = '<title>First</title><meta name="csrf-token" content="old"><meta name="gone" content="1"><style>a{}</style>'
    + '<link rel="icon" href="/i.png">';
  document.body.innerHTML = '<p>first</p>';
  pages['/second'] = '<html lang="fr"><head><title>Second</title><meta name="csrf-token" content="new"><link rel="icon" href="/i.png"><style>b{}</style></head>'
    + '<body class="two"><p>second</p></body></html>';
  await new Address(new Hooks()).go({ url: '/second', spa: true });
  assert.deepEqual([document.title, location.pathname, document.body.className, find('p').textContent, document.documentElement.lang],
    ['Second', '/second', 'two', 'second', 'fr']);
  const head = [...document.head.children].map((element) => element.outerHTML).sort();
  assert.deepEqual(head, [
    '<link rel="icon" href="/i.png">', '<meta name="csrf-token" content="new">', '<style>a{}</style>', '<style>b{}</style>', '<title>Second</title>',
  ]);
});

test('what is no page is left to the browser, and so is a link to elsewhere', async () => {
  document.body.innerHTML = '<a href="/second" diff:navigate>x</a><a href="http://other.test/" diff:navigate>x</a><a href="#here" diff:navigate>x</a>'
    + '<a href="/second" diff:navigate target="_blank">x</a><a href="/second" diff:navigate download>x</a>';
  pages['/second'] = '<p>second</p>';
  const client = start({});
  const attach = navigate(/** @type {any} */ ({ ...client, address: { navigation: async () => ({ visit: (url) => { fetched.push(url); } }) } }));
  for (const element of document.querySelectorAll('a')) attach({ element, modifiers: [] });
  document.addEventListener('click', (event) => event.preventDefault());
  const click = (link, init = {}) => link.dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true, ...init }));
  const [plain, ...others] = document.querySelectorAll('a');
  for (const link of others) click(link);
  for (const key of ['ctrlKey', 'metaKey', 'shiftKey', 'altKey']) click(plain, { [key]: true });
  click(plain, { button: 1 });
  await settled();
  assert.deepEqual(fetched, []);
  click(plain);
  await settled();
  assert.deepEqual(fetched, ['http://page.test/second']);
});

test('a link is fetched ahead once, and the visit takes what was fetched', async () => {
  pages['/second'] = '<p>second</p>';
  const navigation = await new Address(new Hooks()).navigation();
  navigation.prefetch('/second');
  navigation.prefetch('/second');
  await settled();
  await navigation.visit('/second');
  assert.deepEqual([fetched, find('p').textContent], [['/second'], 'second']);
  await navigation.visit('/second');
  assert.equal(fetched.length, 2, 'what was shown is not shown again');
});

test('the later of two visits wins', async () => {
  Object.assign(pages, { '/a': '<p>a</p>', '/b': '<p>b</p>' });
  const navigation = await new Address(new Hooks()).navigation();
  await Promise.all([navigation.visit('/a'), navigation.visit('/b')]);
  assert.deepEqual([location.pathname, find('p').textContent], ['/b', 'b']);
});

test('a page with another release of the client is loaded, not shown beside the one that runs', async (context) => {
  const warned = context.mock.method(console, 'warn', () => {});
  const src = (query) => new URL(`../client.js${query}`, import.meta.url).href;
  document.body.innerHTML = `<p>first</p><script type="module" src="${src('?v=1')}"></script>`;
  const navigation = await new Address(new Hooks()).navigation();
  for (const [version, shown, warnings] of /** @type {[string, string, number][]} */ ([['?v=1', 'second', 0], ['?v=2', 'first', 1]])) {
    pages['/second'] = `<p>second</p><script type="module" src="${src(version)}"></script>`;
    document.body.firstElementChild.textContent = 'first';
    await navigation.visit('/second');
    assert.deepEqual([find('p').textContent, warned.mock.callCount()], [shown, warnings], version);
  }
});

test('a place in a page is found by its name, however it is spelled', async () => {
  pages['/second'] = '<p id="a b">1</p><p id="100%">2</p><a name="old">3</a>';
  const seen = [];
  Element.prototype.scrollIntoView = /** @this {Element} */ function scrollIntoView() { seen.push(this.textContent); };
  const navigation = await new Address(new Hooks()).navigation();
  for (const hash of ['a%20b', '100%', 'old', 'nowhere']) await navigation.visit(`/second#${hash}`);
  assert.deepEqual(seen, ['1', '2', '3']);
});

test('the page that is shown already is no other step of the history', async () => {
  pages['/second'] = '<p>second</p>';
  const navigation = await new Address(new Hooks()).navigation();
  await navigation.visit('/second');
  const steps = history.length;
  pages['/second'] = '<p>new</p>';
  await navigation.visit('/second');
  assert.deepEqual([history.length, find('p').textContent], [steps, 'new']);
});

test('an answer that is late finds its page, and leads nobody away from where they have gone', async () => {
  document.body.innerHTML = component('a', '<p><button diff:click="add">0</button></p>', { state: { n: 0 } });
  pages['/second'] = '<p>second</p>';
  let reply = /** @type {(answer: any) => void} */ (() => {});
  const client = start({}, () => new Promise((resolve) => { reply = resolve; }));
  const navigation = await new Address(client.hooks).navigation();
  find('button').click();
  await settled();
  await navigation.visit('/second');
  await settled();
  reply({ redirect: { url: '/third' }, c: { p: [{ t: 't', p: [0, 0], d: { x: '1' } }], st: { n: 1 }, f: 'f', sig: 's', q: { n: 1 } } });
  await settled();
  assert.deepEqual(client.visits, []);
  history.back();
  for (let i = 0; i < 50 && !find('button'); i += 1) await settled(5);
  await settled();
  assert.deepEqual([find('button').textContent, client.components.get('a').state], ['1', { n: 1 }]);
});

test('Back finds the page as it was, with its components in their state', async () => {
  document.body.innerHTML = component('a', '<p><input></p>', { state: { n: 1 } });
  pages['/second'] = '<p>second</p>';
  const client = start({});
  const navigation = await client.address.navigation?.() ?? await new Address(client.hooks).navigation();
  const own = client.components.get('a');
  own.state = { n: 2 };
  find('input').value = 'typed';
  await navigation.visit('/second');
  await settled();
  assert.equal(client.components.get('a'), undefined);
  history.back();
  for (let i = 0; i < 50 && !find('input'); i += 1) await settled(5);
  await settled();
  assert.deepEqual([find('input').value, location.pathname, client.components.get('a') === own], ['typed', '/first', true]);
  assert.deepEqual(fetched, ['/second']);
});

test('a page may keep a visit from happening', async () => {
  pages['/second'] = '<p>second</p>';
  document.addEventListener('diffyne:navigate', (event) => event.preventDefault(), { once: true });
  const navigation = await new Address(new Hooks()).navigation();
  await navigation.visit('/second');
  assert.deepEqual([location.pathname, fetched], ['/first', []]);
});
