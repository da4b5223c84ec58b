// Applies the server's patches. A path is child indexes from the component's root, counted over elements, comments
// and text that is not only white space. Removes go first, then everything else, deepest path first.

const HTML = 'http://www.w3.org/1999/xhtml';
const SVG = 'http://www.w3.org/2000/svg';
const MATHML = 'http://www.w3.org/1998/Math/MathML';
// Elements whose content is HTML, and the namespaces of attributes, in SVG and MathML.
const WITH_HTML = ['foreignObject', 'desc', 'title', 'annotation-xml', 'mi', 'mn', 'mo', 'ms', 'mtext'];
const ATTRIBUTE_NAMESPACES = {
  xlink: 'http://www.w3.org/1999/xlink',
  xml: 'http://www.w3.org/XML/1998/namespace',
  xmlns: 'http://www.w3.org/2000/xmlns/',
};

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
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  const hadFocus = children[from].contains(focused);
  parent.insertBefore(children[from], children[to] ?? null);
  // A browser takes the focus from what is moved.
  if (hadFocus) focused.focus();
}

function setAttributes(element, { s = {}, r = [] }) {
  for (const [name, value] of Object.entries(s)) {
    setAttribute(element, name, value);
    setProperty(element, name, value, true);
  }
  for (const name of r) {
    // A checkbox keeps its value in the attribute, so the property goes first.
    setProperty(element, name, '', false);
    element.removeAttribute(name);
  }
}

// Once a field was used, its attributes say nothing any more.
function setProperty(element, name, value, on) {
  if (name === 'value' && ['input', 'textarea', 'select'].includes(element.localName)) element.value = value;
  if (name === 'checked' && element.localName === 'input') element.checked = on;
  if (name === 'selected' && element.localName === 'option') element.selected = on;
}

function namespaceOf(tag, { namespaceURI, localName }) {
  if (tag === 'svg') return SVG;
  if (tag === 'math') return MATHML;
  return WITH_HTML.includes(localName) ? HTML : namespaceURI;
}

function setAttribute(element, name, value) {
  const namespace = element.namespaceURI !== HTML && ATTRIBUTE_NAMESPACES[name.split(':')[0]];
  if (namespace) {
    element.setAttributeNS(namespace, name, value);
    return;
  }
  try {
    element.setAttribute(name, value);
  } catch {
    // A name as @click has, which only HTML may spell in older browsers. It has no space, slash, = or >.
    const template = document.createElement('template');
    template.innerHTML = `<i ${name}>`;
    const attribute = /** @type {Attr} */ (template.content.firstElementChild.attributes[0].cloneNode());
    attribute.value = value;
    element.setAttributeNode(attribute);
  }
}

function build({ t, a = {}, c = [], x, m }, parent) {
  if (x !== undefined) return document.createTextNode(x);
  if (m !== undefined) return document.createComment(m);
  const element = document.createElementNS(namespaceOf(t, parent), t);
  for (const [name, value] of Object.entries(a)) setAttribute(element, name, value);
  const inside = t === 'template' ? /** @type {HTMLTemplateElement} */ (element).content : element;
  inside.append(...c.map((child) => build(child, element)));
  return element;
}
