// diff:error shows what is wrong with a field, and the event diffyne:error tells of calls that failed otherwise.

import { announce, attribute, own } from '../dom.js';
import { withAttribute } from '../page.js';

export function error({ hooks }) {
  hooks.on('error', ({ component, error: { message, type, details } }) => {
    if (type === 'validation_error' && details?.errors) {
      showErrors(component.root, details.errors);
      return;
    }
    console.warn(`diffyne: ${component.className}: ${message} (${type})`);
    announce('diffyne:error', { message, type, componentClass: component.className });
  });
}

// errors: {field: [text]}. Each text stands in the element that names its field; the field itself is marked.
export function showErrors(root, errors) {
  for (const place of own(root, '[diff\\:error]')) {
    const text = errors[attribute(place, 'diff:error')]?.[0] ?? '';
    place.textContent = text;
    place.hidden = !text;
  }
  for (const { element, name } of withAttribute(root, 'diff:model')) {
    const faulty = Object.hasOwn(errors, attribute(element, name));
    if (faulty !== element.classList.contains('diffyne-error')) element.classList.toggle('diffyne-error', faulty);
    if (faulty) element.setAttribute('aria-invalid', 'true');
    else element.removeAttribute('aria-invalid');
  }
}
