// diff:error="field" shows what is wrong with a field. Why a call has failed otherwise is told by the event diffyne:error,
// and shown by failure.js; a listener that prevents its default shows it itself.

import { announce, attribute, own } from '../dom.js';
import { modelAttribute, propertyOf } from '../field.js';

export function error(client) {
  client.hooks.on('error', ({ component, error: { message, type, details } }) => {
    if (type === 'validation_error' && details?.errors) {
      showErrors(component.root, details.errors);
      return;
    }
    if (!announce('diffyne:error', { message, type, componentClass: component.className })) return;
    console.warn(`diffyne: ${component.className}: ${message} (${type})`);
    client.failed = { component, message };
    client.hooks.emit('failed', client.failed);
  });
}

export function showText(place, text) {
  place.textContent = text;
  place.hidden = !text;
}

// errors: {field: [text]}. Each text stands in the element that names its field; the field itself is marked.
export function showErrors(root, errors) {
  for (const place of own(root, '[diff\\:error]')) {
    showText(place, errors[attribute(place, 'diff:error')]?.[0] ?? '');
  }
  for (const element of own(root, 'input, textarea, select').filter(modelAttribute)) {
    const faulty = Object.hasOwn(errors, propertyOf(element));
    element.classList.toggle('diffyne-error', faulty);
    element[faulty ? 'setAttribute' : 'removeAttribute']('aria-invalid', 'true');
  }
}
