// What diff:model says of a field, and fields that show the state.

import { shown } from './numbers.js';
import { WRAPPER } from './page.js';
import { modelAttribute } from './typing.js';

const DEBOUNCE_MS = 150;

export function modelOf(field) {
  const attribute = modelAttribute(field);
  if (!attribute) return null;
  const [, ...modifiers] = attribute.name.split('.');
  const at = modifiers.indexOf('debounce');
  const debounceMs = at >= 0 ? Number.parseInt(modifiers[at + 1], 10) : DEBOUNCE_MS;
  return { property: attribute.value, live: modifiers.includes('live'), lazy: modifiers.includes('lazy'), debounceMs };
}

// Fields show the state, unless the user is ahead of it.
export function syncModels(component) {
  const state = shown(component.state);
  for (const field of component.root.querySelectorAll('input, textarea, select')) {
    const model = modelOf(field);
    if (!model || field.type === 'file' || field.closest(WRAPPER) !== component.root || !(model.property in state)) continue;
    const value = state[model.property];
    if (field.type === 'checkbox') field.checked = Boolean(value);
    else if (field.type === 'radio') field.checked = field.value === String(value);
    else if (field.value !== String(value ?? '')) field.value = String(value ?? '');
  }
}
