import assert from 'node:assert/strict';
import { test } from 'node:test';

import './dom.js';
import { applyPatches } from '../patches.js';

/** The wrapper of a component with this HTML. @returns {any} */
function wrapper(html) {
  const element = document.createElement('div');
  element.innerHTML = html;
  document.body.replaceChildren(element);
  return element;
}

/** What patches make of HTML; none of them may fail. */
function patched(html, ...patches) {
  const element = wrapper(html);
  assert.deepEqual(applyPatches(element, patches), []);
  return element.innerHTML;
}

const create = (path, node) => ({ t: 'c', p: path, d: { node } });
const item = (text) => ({ t: 'li', c: [{ x: text }] });

test('paths count what is no white space, and inserted nodes go right before the next one', () => {
  const html = '<ul> <li>1</li> <!--c--> <li>2</li> </ul>';
  assert.equal(patched(html, create([2], item('x'))), '<ul> <li>1</li> <!--c--> <li>x</li><li>2</li> </ul>');
  assert.equal(patched(html, create([1], { x: ' ' }), { t: 'r', p: [2] }), '<ul> <li>1</li>  <!--c-->  </ul>');
  assert.equal(patched(html, create([3], item('x')), create([4], { x: '\n' })), '<ul> <li>1</li> <!--c--> <li>2</li> <li>x</li>\n</ul>');
});

test('a child moves with the white space before it', () => {
  const move = (from, to) => ({ t: 'o', p: [], d: { moves: [{ from, to }] } });
  assert.equal(patched('<p><b>a</b> <b>b</b>\n<b>c</b></p>', move(2, 1)), '<p><b>a</b>\n<b>c</b> <b>b</b></p>');
  assert.equal(patched('<p> <b>a</b> <b>b</b>\n</p>', move(0, 2)), '<p> <b>b</b> <b>a</b>\n</p>');
  assert.equal(patched('<p><b>a</b><b>b</b></p>', move(0, 1)), '<p><b>a</b><b>b</b></p>');
});

test('patches in the long form of the package are read, also with gaps in their list', () => {
  const element = wrapper('<p class="a">x</p>');
  const long = {
    0: { type: 'update_text', path: [0], data: { text: 'y' } },
    5: { type: 'update_attrs', path: [], data: { set: { id: 'i' }, remove: ['class'] } },
  };
  assert.deepEqual(applyPatches(element, long), []);
  assert.equal(element.innerHTML, '<p id="i">y</p>');
});

test('one broken patch costs none of the others, and each fault is told', () => {
  const element = wrapper('<p>a<b>b</b></p>');
  const broken = [{ t: 't', p: [9], d: { x: '?' } }, { t: '?', p: [] }, { t: 't', p: [1], d: { x: '?' } }, create([0], { t: '<' })];
  const faults = applyPatches(element, [broken[0], broken[1], { t: 't', p: [0], d: { x: 'A' } }, broken[2], broken[3], { t: 't', p: [1, 0], d: { x: 'B' } }]);
  assert.equal(element.innerHTML, '<p>A<b>B</b></p>');
  assert.equal(faults.length, 4);
  assert.match(faults[0].message, /the patch t at 9 cannot be applied/);
});

test('what a template holds is patched', () => {
  const element = wrapper('<div><template><p>a</p> <p>b</p></template></div>');
  const patches = [{ t: 't', p: [0, 0, 0], d: { x: 'c' } }, { t: 'r', p: [0, 0] }, create([0, 1], { t: 'template', c: [{ x: 'y' }] })];
  assert.deepEqual(applyPatches(element, patches), []);
  assert.equal(element.innerHTML, '<div><template> <p>c</p><template>y</template></template></div>');
});

test('created elements and attributes have the namespaces that a browser gives them', () => {
  const [SVG, MATH, HTML] = ['http://www.w3.org/2000/svg', 'http://www.w3.org/1998/Math/MathML', 'http://www.w3.org/1999/xhtml'];
  const element = (t, c = [], a = {}) => ({ t, c, a });
  /** @type {[string, any, Record<string, string>][]} */
  const cases = [
    ['svg', element('svg', [element('math', [element('i')])]), { math: SVG, i: SVG }],
    ['foreignObject', element('svg', [element('foreignObject', [element('i'), element('math')])]), { i: HTML, math: MATH }],
    ['mtext', element('math', [element('mtext', [element('i'), element('mglyph'), element('svg')])]), { i: HTML, mglyph: MATH, svg: SVG }],
    ['mrow', element('math', [element('mrow', [element('svg')])]), { svg: MATH }],
    ['annotation', element('math', [element('annotation-xml', [element('i'), element('svg')])]), { i: MATH, svg: SVG }],
    ['HTML annotation', element('math', [element('annotation-xml', [element('i')], { encoding: 'Text/HTML' })]), { i: HTML }],
    ['template', element('svg', [element('desc', [element('template', [element('p')])])]), { template: HTML }],
  ];
  for (const [name, node, expected] of cases) {
    const root = wrapper('<div></div>');
    assert.deepEqual(applyPatches(root, [create([0], node)]), [], name);
    for (const [tag, namespace] of Object.entries(expected)) {
      const found = [...root.querySelectorAll('*')].find(({ localName }) => localName === tag);
      assert.equal(found?.namespaceURI, namespace, `${tag} in ${name}`);
    }
  }
  const names = {
    'xlink:href': 'http://www.w3.org/1999/xlink', 'xml:lang': 'http://www.w3.org/XML/1998/namespace', 'xlink:other': null, 'xml:base': null, viewBox: null,
  };
  const root = wrapper('<div><svg></svg></div>');
  const values = Object.fromEntries(Object.keys(names).map((name) => [name, 'x']));
  applyPatches(root, [{ t: 'a', p: [0], d: { s: values } }, create([1], element('svg', [], values))]);
  for (const svg of root.querySelectorAll('svg')) {
    for (const { name, namespaceURI } of svg.attributes) assert.equal(namespaceURI, names[name], name);
  }
});

test('a value is set when what limits it is in place', () => {
  const range = (attributes) => `<p><input type="range" min="0" max="10" value="5" ${attributes}></p>`;
  const value = (html, ...patches) => {
    const element = wrapper(html);
    element.querySelector('input').value = '3'; // used
    assert.deepEqual(applyPatches(element, patches), []);
    return element.querySelector('input, select').value;
  };
  assert.equal(value(range(''), { t: 'a', p: [0], d: { s: { value: '150', max: '200' } } }), '150');
  assert.equal(value(range(''), { t: 'a', p: [0], d: { s: { value: '150' }, r: ['max'] } }), '100');
  assert.equal(value(range(''), { t: 'a', p: [0], d: { s: { value: '-5', min: '-9' } } }), '-5');
  assert.equal(value(range(''), { t: 'a', p: [0], d: { s: { value: 'x', type: 'text' } } }), 'x');
  assert.equal(value('<p><input></p>', create([0], { t: 'input', a: { value: '150', type: 'range', max: '200' } })), '150');
});

test('what fields show follows the patches, but for those that are kept', () => {
  const boxes = '<input type="checkbox" value="v" checked><select><option>1</option></select>';
  const element = wrapper(`<p><textarea>a</textarea>${boxes}<input id="kept" value="x"></p>`);
  const [area, box, select, kept] = element.querySelectorAll('textarea, input, select');
  area.value = 'typed';
  box.checked = true;
  kept.value = 'mine';
  applyPatches(element, [
    { t: 't', p: [0, 0], d: { x: 'b' } }, { t: 'a', p: [1], d: { r: ['checked', 'value'] } },
    create([2, 1], { t: 'option', a: { selected: '' }, c: [{ x: '2' }] }),
    { t: 'a', p: [3], d: { s: { value: 'y' } } },
  ], (field) => field === kept);
  assert.deepEqual([area.value, box.checked, box.value, select.value, kept.value], ['b', false, 'on', '2', 'mine']);
});

test('a dialog that the server closes no longer keeps the rest of the page from being used', () => {
  const element = wrapper('<div><dialog open>a</dialog><details open>b</details></div>');
  let closed = 0;
  element.querySelector('dialog').close = () => { closed += 1; };
  assert.deepEqual(applyPatches(element, [0, 1].map((index) => ({ t: 'a', p: [index], d: { r: ['open'] } }))), []);
  assert.deepEqual([closed, element.innerHTML], [1, '<div><dialog>a</dialog><details>b</details></div>']);
});

test('what elements are called hides none of the methods', () => {
  const clobbering = ['attributes', 'childNodes', 'insertBefore', 'setAttribute', 'removeAttribute', 'removeChild', 'replaceChild', 'parentNode', 'nodeType',
    'localName', 'namespaceURI', 'firstElementChild', 'contains', 'previousSibling', 'lastChild', 'nextSibling', 'closest', 'replaceWith', 'remove'];
  for (const name of clobbering) {
    const root = wrapper(`<form><input name="${name}"><b>a</b><b>b</b></form>`);
    const patches = [
      { t: 'a', p: [], d: { s: { id: 'x' }, r: ['class'] } }, create([3], { t: 'i' }), { t: 'R', p: [1], d: { node: { t: 'u' } } },
      { t: 'o', p: [], d: { moves: [{ from: 1, to: 4 }] } },
    ];
    assert.deepEqual(applyPatches(root, patches), [], name);
    assert.equal(root.innerHTML, `<form id="x"><input name="${name}"><b>b</b><i></i><u></u></form>`, name);
  }
});
