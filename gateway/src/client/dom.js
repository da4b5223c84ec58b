// The DOM's own methods and properties, taken from the prototypes. A form's field named `attributes` or `closest` hides
// those of the form, and an image named `body` that of the document; what is taken from a prototype is never hidden.

// The border of a component.
export const WRAPPER = '[data-diffyne-component]';

const method = (prototype, name) => Function.prototype.call.bind(prototype[name]);
const getter = (prototype, name) => Function.prototype.call.bind(Object.getOwnPropertyDescriptor(prototype, name).get);

export const nodeType = getter(Node.prototype, 'nodeType');
export const childNodes = getter(Node.prototype, 'childNodes');
export const lastChild = getter(Node.prototype, 'lastChild');
export const nextSibling = getter(Node.prototype, 'nextSibling');
export const previousSibling = getter(Node.prototype, 'previousSibling');
export const parentNode = getter(Node.prototype, 'parentNode');
export const isConnected = getter(Node.prototype, 'isConnected');
export const textOf = getter(Node.prototype, 'textContent');
export const contains = method(Node.prototype, 'contains');
export const insertBefore = method(Node.prototype, 'insertBefore');
export const replaceChild = method(Node.prototype, 'replaceChild');
export const removeChild = method(Node.prototype, 'removeChild');

export const localName = getter(Element.prototype, 'localName');
export const namespaceURI = getter(Element.prototype, 'namespaceURI');
export const firstElement = getter(Element.prototype, 'firstElementChild');
export const attributes = getter(Element.prototype, 'attributes');
export const attribute = method(Element.prototype, 'getAttribute');
export const hasAttribute = method(Element.prototype, 'hasAttribute');
export const setAttribute = method(Element.prototype, 'setAttribute');
export const setAttributeNS = method(Element.prototype, 'setAttributeNS');
export const setAttributeNode = method(Element.prototype, 'setAttributeNode');
export const removeAttribute = method(Element.prototype, 'removeAttribute');
export const closest = method(Element.prototype, 'closest');
const queryElement = method(Element.prototype, 'querySelectorAll');
const queryDocument = method(Document.prototype, 'querySelectorAll');

const made = (name) => {
  const make = method(Document.prototype, name);
  return (...values) => make(document, ...values);
};
/** @type {(tag: string) => any} */
export const createElement = made('createElement');
export const createElementNS = made('createElementNS');
export const createTextNode = made('createTextNode');
export const createComment = made('createComment');

const addListener = method(EventTarget.prototype, 'addEventListener');
/** Listens to the whole page, before anything in it does. @type {(type: string, listener: (event: any) => void) => void} */
export const listen = (type, listener) => addListener(document, type, listener, true);

const dispatch = method(EventTarget.prototype, 'dispatchEvent');
/** Tells the page's own scripts; false when one of them has prevented what would follow. @type {(name: string, detail: object) => boolean} */
export const announce = (name, detail) => dispatch(document, new CustomEvent(name, { detail, cancelable: true }));

const rootOf = getter(Document.prototype, 'documentElement');
/** The `<html>` of the page. */
export const documentElement = () => rootOf(document);

const focused = getter(Document.prototype, 'activeElement');
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
  return hasInner(root) ? found.filter((element) => wrapperOf(element) === root) : found;
}

const queryFirst = method(Element.prototype, 'querySelector');
const hasInner = (root) => Boolean(queryFirst(root, WRAPPER));

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
