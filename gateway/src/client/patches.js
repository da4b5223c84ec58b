// Applies the server's patches. A path is child indexes from the component's root, counted over elements, comments
// and text that is not only white space. Removes go first, then everything else, deepest path first.
//
// A patch that cannot be applied costs none of the others: the faults are returned, and the component is to be fetched
// anew. What fields show is set when all elements and attributes are in place.

import {
  activeElement, attribute, attributes, childNodes, closest, contains, createComment, createElement, createElementNS, createTextNode, firstElement, focusOn,
  hasAttribute, insertBefore, lastChild, localName, moveBefore, namespaceURI, nextSibling, nodeType, parentNode, previousSibling, removeAttribute,
  removeChild, replaceChild, selectionOf, setAttribute, setAttributeNode, setAttributeNS, textOf,
} from './dom.js';

const HTML = 'http://www.w3.org/1999/xhtml';
const SVG = 'http://www.w3.org/2000/svg';
const MATHML = 'http://www.w3.org/1998/Math/MathML';
// Elements of SVG and MathML whose content is HTML, and elements that are MathML even there.
const SVG_WITH_HTML = ['foreignObject', 'desc', 'title'];
const MATH_WITH_HTML = ['mi', 'mn', 'mo', 'ms', 'mtext'];
const MATH_IN_TEXT = ['mglyph', 'malignmark'];
const HTML_ENCODINGS = ['text/html', 'application/xhtml+xml'];
// The attributes of SVG and MathML that have a namespace, as a browser reads HTML.
const NAMESPACES = {
  ...Object.fromEntries(['actuate', 'arcrole', 'href', 'role', 'show', 'title', 'type'].map((name) => [`xlink:${name}`, 'http://www.w3.org/1999/xlink'])),
  'xml:lang': 'http://www.w3.org/XML/1998/namespace',
  'xml:space': 'http://www.w3.org/XML/1998/namespace',
  xmlns: 'http://www.w3.org/2000/xmlns/',
  'xmlns:xlink': 'http://www.w3.org/2000/xmlns/',
};
// A browser cuts a value to what these allow, so they are set before it.
const BEFORE_VALUE = ['type', 'multiple', 'min', 'max', 'step'];
// Inputs that keep their value in the attribute; the value of a file field is not for scripts.
const VALUE_IN_ATTRIBUTE = ['checkbox', 'radio', 'hidden', 'button', 'submit', 'reset', 'image', 'file'];
// The long names of a package that makes its patches itself.
const SHORT = { create: 'c', remove: 'r', replace: 'R', update_text: 't', update_attrs: 'a', reorder: 'o' };

const isBlank = (node) => nodeType(node) === 3 && node.data.trim() === '';
const isMeaningful = (node) => [1, 8].includes(nodeType(node)) || (nodeType(node) === 3 && !isBlank(node));
// What a template holds is no child of it for a browser.
const contentOf = (node) => (nodeType(node) === 1 && localName(node) === 'template' && namespaceURI(node) === HTML ? node.content : node);

function byRemoval({ p: a }, { p: b }) {
  for (let i = Math.min(a.length, b.length) - 1; i >= 0; i--) if (a[i] !== b[i]) return b[i] - a[i];
  return b.length - a.length;
}

/**
 * Applies patches to the component in a wrapper, and returns what went wrong: one error for each patch that could not
 * be applied. `isKept(field)` says which fields go on showing what they show.
 * @returns {Error[]}
 */
export function applyPatches(wrapper, patches, isKept = /** @type {(field: any) => boolean} */ (() => false), root = firstElement(wrapper)) {
  // A list in which PHP left gaps is an object.
  const list = Object.values(patches ?? []).map(({ t, type, p, path, d, data }) => {
    const name = t ?? type;
    return { t: SHORT[name] ?? name, p: p ?? path ?? [], d: d ?? data ?? {} };
  });
  const page = new PatchedPage(wrapper, isKept, root);
  if (list.length === 1 && list[0].t === 'c' && !list[0].p.length) {
    page.attempt(list[0], () => page.replaceRoot(list[0].d));
  } else {
    const removes = list.filter(({ t }) => t === 'r').sort(byRemoval);
    const others = list.filter(({ t }) => t !== 'r').sort((a, b) => b.p.length - a.p.length);
    for (const patch of [...removes, ...others]) page.attempt(patch, () => page.apply(patch));
  }
  page.showFields();
  return page.faults;
}

class PatchedPage {
  faults = [];
  #wrapper;
  #root;
  #isKept;
  #children = new Map(); // by parent: its meaningful children, so that a step of a path costs a look
  #shown = []; // what is to be done to fields at the end

  constructor(wrapper, isKept, root) {
    this.#wrapper = wrapper;
    this.#root = root;
    this.#isKept = isKept;
  }

  attempt({ t, p }, work) {
    try {
      work();
    } catch (error) {
      this.faults.push(new Error(`the patch ${t} at ${p.join('.') || 'the root'} cannot be applied: ${error.message}`, { cause: error }));
    }
  }

  replaceRoot({ node }) {
    const fresh = build(node, this.#wrapper);
    for (const child of [...childNodes(this.#wrapper)]) removeChild(this.#wrapper, child);
    insertBefore(this.#wrapper, fresh, null);
  }

  apply({ t, p, d }) {
    const node = this.#at(t === 'c' ? p.slice(0, -1) : p);
    if (!node || isIgnored(node, t)) return;
    if (t === 'c') this.#insert(node, build(d.node, node), p.at(-1));
    else if (t === 'r') this.#remove(node, p.at(-1));
    else if (t === 'R') this.#replace(node, d.node, p.at(-1));
    else if (t === 't') this.#setText(node, d.x ?? d.text);
    else if (t === 'o') for (const { from, to } of d.moves) this.#move(node, from, to);
    else if (t === 'a') this.#setAttributes(node, d);
    else throw new Error('there is no such patch');
  }

  // Fields show what their attributes and texts say now. Once a field was used, they say nothing by themselves.
  showFields() {
    for (const { field, show } of this.#shown) if (!this.#isKept(field)) show();
  }

  #at(path) {
    let node = this.#root;
    for (const index of path) {
      if (node && isIgnored(node, 'c')) return null;
      node = node && this.#childrenOf(node)[index];
    }
    if (!node) throw new Error('there is no such node');
    return node;
  }

  #childrenOf(parent) {
    const content = contentOf(parent);
    let children = this.#children.get(content);
    if (!children) this.#children.set(content, children = [...childNodes(content)].filter(isMeaningful));
    return children;
  }

  #insert(parent, fresh, index) {
    const children = this.#childrenOf(parent);
    insertBefore(contentOf(parent), fresh, children[index] ?? null);
    if (isMeaningful(fresh)) children.splice(index, 0, fresh);
    this.#textHasChanged(parent);
  }

  #remove(node, index) {
    const parent = parentNode(node);
    removeChild(parent, node);
    this.#children.get(parent)?.splice(index, 1);
    this.#textHasChanged(parent);
  }

  #replace(node, data, index) {
    const parent = parentNode(node);
    const fresh = build(data, parent);
    replaceChild(parent, fresh, node);
    if (node === this.#root) this.#root = firstElement(this.#wrapper);
    else if (isMeaningful(fresh)) this.#childrenOf(parent)[index] = fresh;
    else this.#children.delete(parent);
    this.#textHasChanged(parent);
  }

  #setText(node, text) {
    if (nodeType(node) !== 3) throw new Error('it is no text');
    node.data = text;
    const parent = parentNode(node);
    if (isBlank(node)) this.#children.delete(parent);
    this.#textHasChanged(parent);
  }

  // A child moves with the white space before it.
  #move(parent, from, to) {
    const children = this.#childrenOf(parent);
    const child = children[from];
    if (!child) throw new Error(`there is no child ${from}`);
    if (child === children[to]) return;
    const next = spaceBefore(parent, children[to] ?? null);
    if (next === spaceBefore(parent, child)) return;
    const moving = [];
    for (let node = spaceBefore(parent, child); node !== child; node = nextSibling(node)) moving.push(node);
    const focusAgain = focusIn(child);
    for (const node of [...moving, child]) moveBefore(contentOf(parent), node, next);
    focusAgain();
    children.splice(from, 1);
    children.splice(to > from ? to - 1 : to, 0, child);
  }

  #setAttributes(element, { s, set, r, remove }) {
    if (nodeType(element) !== 1) throw new Error('it is no element');
    const added = inOrder(Object.entries(s ?? set ?? {}));
    for (const [name, value] of added) setNamed(element, name, value);
    const gone = r ?? remove ?? [];
    for (const name of gone) {
      // A dialog without its attribute alone would still keep the rest of the page from being used.
      if (name === 'open') element.close?.();
      removeAttribute(element, name);
    }
    for (const name of gone) this.#setProperty(element, name, '', false);
    for (const [name, value] of added) this.#setProperty(element, name, value, true);
  }

  #setProperty(field, name, value, on) {
    const tag = namespaceURI(field) === HTML ? localName(field) : '';
    if (name === 'value' && ['input', 'textarea', 'select'].includes(tag)) {
      this.#shown.push({ field, show: () => { if (!VALUE_IN_ATTRIBUTE.includes(field.type)) field.value = value; } });
    }
    if (name === 'checked' && tag === 'input') this.#shown.push({ field, show: () => { field.checked = on; } });
    if (name === 'selected' && tag === 'option') {
      this.#shown.push({ field: closest(field, 'select') ?? field, show: () => { field.selected = on; } });
    }
  }

  #textHasChanged(parent) {
    if (nodeType(parent) !== 1 || localName(parent) !== 'textarea') return;
    this.#shown.push({ field: parent, show: () => { parent.value = textOf(parent); } });
  }
}

// Scripts of the page look after what diff:ignore is on, and what is in it; with `.self` after its attributes alone.
function isIgnored(node, type) {
  if (nodeType(node) !== 1 || !['c', 'o', 'a'].includes(type)) return false;
  return hasAttribute(node, 'diff:ignore') || (type === 'a' && hasAttribute(node, 'diff:ignore.self'));
}

// The first of the white space before a child; at the end, of that behind all children.
function spaceBefore(parent, child) {
  let first = child;
  let node = child ? previousSibling(child) : lastChild(contentOf(parent));
  while (node && isBlank(node)) {
    first = node;
    node = previousSibling(node);
  }
  return first;
}

// Gives the focus back, with its selection, where a browser takes it from what is moved.
function focusIn(node) {
  const field = activeElement();
  if (!field || !contains(node, field)) return () => {};
  const selection = selectionOf(field);
  return () => {
    if (field !== activeElement()) focusOn(field, selection);
  };
}

function inOrder(entries) {
  const rank = ([name]) => (name === 'value' ? 2 : BEFORE_VALUE.includes(name) ? 0 : 1);
  return entries.sort((a, b) => rank(a) - rank(b));
}

// The namespace of an element by its parent, as a browser reads HTML.
function namespaceOf(tag, parent) {
  const namespace = nodeType(parent) === 1 ? namespaceURI(parent) : HTML;
  const name = nodeType(parent) === 1 ? localName(parent) : '';
  const isAnnotation = namespace === MATHML && name === 'annotation-xml';
  const isHtml = namespace === HTML
    || (namespace === SVG && SVG_WITH_HTML.includes(name))
    || (isAnnotation && HTML_ENCODINGS.includes(attribute(parent, 'encoding')?.toLowerCase()));
  if (namespace === SVG && !isHtml) return SVG;
  const isText = namespace === MATHML && MATH_WITH_HTML.includes(name);
  if (tag === 'svg' && (isHtml || isText || isAnnotation)) return SVG;
  if (tag === 'math' && (isHtml || isText)) return MATHML;
  if (isText) return MATH_IN_TEXT.includes(tag) ? MATHML : HTML;
  return isHtml ? HTML : MATHML;
}

function setNamed(element, name, value) {
  if (namespaceURI(element) !== HTML && Object.hasOwn(NAMESPACES, name)) {
    setAttributeNS(element, NAMESPACES[name], name, value);
    return;
  }
  try {
    setAttribute(element, name, value);
  } catch {
    // A name as @click has, which only HTML may spell in older browsers. It has no space, slash, = or >.
    const template = createElement('template');
    template.innerHTML = `<i ${name}>`;
    const copy = attributes(template.content.firstChild)[0].cloneNode();
    copy.value = value;
    setAttributeNode(element, copy);
  }
}

function build(data, parent) {
  const root = make(data, parent);
  if (data.c) fillWith(root, data);
  return root;
}

/** Makes the children of an element. Not recursive: a tree may be deeper than the stack allows. */
export function fillWith(root, data) {
  const steps = [{ element: root, data }];
  for (let step = steps.pop(); step; step = steps.pop()) {
    for (const child of step.data.c ?? []) {
      const node = make(child, step.element);
      insertBefore(contentOf(step.element), node, null);
      if (nodeType(node) === 1) steps.push({ element: node, data: child });
    }
  }
}

function make({ t, a = {}, x, m }, parent) {
  if (x !== undefined) return createTextNode(x);
  if (m !== undefined) return createComment(m);
  const namespace = namespaceOf(t, parent);
  const element = namespace === HTML ? createElement(t) : createElementNS(namespace, t);
  for (const [name, value] of inOrder(Object.entries(a))) setNamed(element, name, value);
  return element;
}
