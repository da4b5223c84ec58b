// Applies the server's patches. A path is child indexes from the component's root, counted over elements, comments
// and text that is not only white space. Removes go first, then everything else, deepest path first.

const SVG = 'http://www.w3.org/2000/svg';

const isMeaningful = ({ nodeType, data }) => nodeType === 1 || nodeType === 8 || (nodeType === 3 && data.trim() !== '');
const childrenOf = (node) => [...node.childNodes].filter(isMeaningful);
const at = (root, path) => path.reduce((node, index) => node && childrenOf(node)[index], root);

function byRemoval({ p: a }, { p: b }) {
  for (let i = Math.min(a.length, b.length) - 1; i >= 0; i--) if (a[i] !== b[i]) return b[i] - a[i];
  return b.length - a.length;
}

export function applyPatches(wrapper, patches) {
  if (patches.length === 1 && patches[0].t === 'c' && !patches[0].p.length) {
    wrapper.replaceChildren(build(patches[0].d.node, wrapper));
    return;
  }
  const root = wrapper.firstElementChild;
  const removes = patches.filter(({ t }) => t === 'r').sort(byRemoval);
  const others = patches.filter(({ t }) => t !== 'r').sort((a, b) => b.p.length - a.p.length);
  for (const { p } of removes) at(root, p)?.remove();
  for (const patch of others) applyOne(root, patch);
}

function applyOne(root, { t, p, d }) {
  const isCreate = t === 'c';
  const node = at(root, isCreate ? p.slice(0, -1) : p);
  if (!node) console.warn(`diffyne: no node at ${p.join('.')} for a patch`);
  else if (isCreate) node.insertBefore(build(d.node, node), childrenOf(node)[p.at(-1)] ?? null);
  else if (t === 'R') node.replaceWith(build(d.node, node.parentNode));
  else if (t === 't') node.data = d.x;
  else if (t === 'o') for (const { from, to } of d.moves) move(node, from, to);
  else if (t === 'a') setAttributes(node, d);
}

function move(parent, from, to) {
  const children = childrenOf(parent);
  if (children[from] === children[to]) return;
  const focused = document.activeElement;
  const hadFocus = children[from].contains(focused);
  parent.insertBefore(children[from], children[to] ?? null);
  // A browser takes the focus from what is moved.
  if (hadFocus) focused.focus();
}

function setAttributes(element, { s = {}, r = [] }) {
  for (const [name, value] of Object.entries(s)) {
    element.setAttribute(name, value);
    setProperty(element, name, value, true);
  }
  for (const name of r) {
    element.removeAttribute(name);
    setProperty(element, name, '', false);
  }
}

// Once a field was used, its attributes say nothing any more.
function setProperty(element, name, value, on) {
  if (name === 'value' && ['input', 'textarea', 'select'].includes(element.localName)) element.value = value;
  if (name === 'checked' && element.localName === 'input') element.checked = on;
  if (name === 'selected' && element.localName === 'option') element.selected = on;
}

function build({ t, a = {}, c = [], x, m }, parent) {
  if (x !== undefined) return document.createTextNode(x);
  if (m !== undefined) return document.createComment(m);
  const drawn = t === 'svg' || (parent.namespaceURI === SVG && parent.localName !== 'foreignObject');
  const element = drawn ? document.createElementNS(SVG, t) : document.createElement(t);
  for (const [name, value] of Object.entries(a)) element.setAttribute(name, value);
  const inside = t === 'template' ? element.content : element;
  inside.append(...c.map((child) => build(child, element)));
  return element;
}
