// The DOM's own methods and properties, taken from the prototypes. A form's field named `attributes` or `closest` hides
// those of the form, and an image named `body` that of the document; what is taken from a prototype is never hidden.

// The border of a component.
export const WRAPPER = '[data-diffyne-component]';

const method = (prototype, name) => Function.prototype.call.bind(prototype[name]);
const getter = (prototype, name) => Function.prototype.call.bind(Object.getOwnPropertyDescriptor(prototype, name).get);

// Those that are named here, each as a function of the node.
/** @type {(of: (prototype: any, name: string) => any, prototype: any) => any} */
const all = (of, prototype) => new Proxy({}, { get: (_, name) => of(prototype, /** @type {string} */ (name)) });

export const { nodeType, childNodes, lastChild, nextSibling, previousSibling, parentNode, isConnected, textContent: textOf } = all(getter, Node.prototype);
export const { contains, insertBefore, replaceChild, removeChild, cloneNode } = all(method, Node.prototype);
export const { localName, namespaceURI, firstElementChild: firstElement, attributes } = all(getter, Element.prototype);
export const {
  getAttribute: attribute, hasAttribute, setAttribute, setAttributeNS, setAttributeNode, removeAttribute, closest,
} = all(method, Element.prototype);
export const { reset: resetForm } = all(method, HTMLFormElement.prototype);
const { querySelector: queryFirst, querySelectorAll: queryElement } = all(method, Element.prototype);
const queryDocument = method(Document.prototype, 'querySelectorAll');

const ofDocument = (prototype, name) => method(prototype, name).bind(null, document);
export const { createElement, createElementNS, createTextNode, createComment } = all(ofDocument, Document.prototype);

const { addEventListener: addListener, dispatchEvent: dispatch } = all(method, EventTarget.prototype);
/** Listens to the whole page, before anything in it does. @type {(type: string, listener: (event: any) => void) => void} */
export const listen = (type, listener) => addListener(document, type, listener, true);

/** Tells the page's own scripts; false when one of them has prevented what would follow. @type {(name: string, detail: object) => boolean} */
export const announce = (name, detail) => dispatch(document, new CustomEvent(name, { detail, cancelable: true }));

const { documentElement: rootOf, activeElement: focused } = all(getter, Document.prototype);
/** The `<html>` of the page. */
export const documentElement = () => rootOf(document);

/** @returns {any} */
export const activeElement = () => focused(document);

/** What a selector finds below an element or in a document. @returns {any[]} */
export const queryAll = (root, selector) => [...(nodeType(root) === 9 ? queryDocument : queryElement)(root, selector)];

/** The wrapper of the nearest component around a node. @returns {any} */
export const wrapperOf = (node) => (nodeType(node) === 1 ? closest(node, WRAPPER) : null);

/** The part of its component that a call from an element is to render: the island that it is in, or that `diff:render` names. */
export function islandOf(element) {
  const found = closest(element, `[diff\\:render],[diff\\:island],${WRAPPER}`);
  return found && (attribute(found, 'diff:render') ?? attribute(found, 'diff:island'));
}

/** What a selector finds in a component, without what belongs to components within it. @returns {any[]} */
export function own(root, selector) {
  const found = queryAll(root, selector);
  return queryFirst(root, WRAPPER) ? found.filter((element) => wrapperOf(element) === root) : found;
}

// A moved element keeps its focus, its scroll position and what is loaded in it, where the browser can do that.
const moveState = /** @type {any} */ (Element.prototype).moveBefore;

/** Moves a child of a parent before another one. */
export function moveBefore(parent, child, next) {
  if (moveState && isConnected(parent) && nodeType(parent) === 1) moveState.call(parent, child, next);
  else insertBefore(parent, child, next);
}

/** Which part of a field's text is selected; null for fields that do not tell. @returns {[number, number, any] | null} */
export function selectionOf(field) {
  try {
    return typeof field.selectionStart === 'number' ? [field.selectionStart, field.selectionEnd, field.selectionDirection] : null;
  } catch {
    return null;
  }
}

/** Gives an element the focus without moving the page, and a field its selection. */
export function focusOn(element, selection) {
  element.focus({ preventScroll: true });
  if (selection && selectionOf(element)) element.setSelectionRange(...selection);
}
