// diff:loading shows that a call is under way.

import { withAttribute } from '../page.js';

const before = new WeakMap(); // what diff:loading.attr has replaced

export function loading({ hooks }) {
  // An update is part of filling in a form: a button that it disables would swallow the next click.
  const showing = (on) => ({ component, type }) => type === 'call' && showLoading(component.root, on);
  hooks.on('call', showing(true));
  hooks.on('answered', showing(false));
}

// diff:loading.class.X, diff:loading.remove.X, diff:loading.attr.N.V; without a modifier the element is dimmed.
export function showLoading(root, on) {
  for (const { element, name } of withAttribute(root, 'diff:loading')) {
    const [, kind, argument, value = ''] = name.split('.');
    if (kind === 'class') element.classList.toggle(argument, on);
    else if (kind === 'remove') element.classList.toggle(argument, !on);
    else if (kind === 'attr') loadingAttribute(element, argument, value, on);
    else Object.assign(element.style, on ? { opacity: '0.5', pointerEvents: 'none' } : { opacity: '', pointerEvents: '' });
  }
}

function loadingAttribute(element, name, value, on) {
  if (on) {
    if (!before.has(element)) before.set(element, element.getAttribute(name));
    element.setAttribute(name, value);
    return;
  }
  const old = before.get(element) ?? null;
  before.delete(element);
  if (old === null) element.removeAttribute(name);
  else element.setAttribute(name, old);
}
