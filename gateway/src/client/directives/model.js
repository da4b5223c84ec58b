// diff:model binds a field to a property: `.live` calls while one types, `.lazy` when one leaves the field.

import { modelOf, syncModels } from '../models.js';
import { valueOf } from '../typing.js';
import { showErrors } from './error.js';

const waiting = new WeakMap(); // timers of live fields

// Fields that say something by being chosen, rather than by what is typed.
const isChoice = (field) => field.localName === 'select' || ['checkbox', 'radio', 'file'].includes(field.type);

export function model(client) {
  const { calls, components, hooks } = client;
  hooks.on('init', ({ component, isBack }) => isBack || syncModels(component));

  document.addEventListener('input', (event) => {
    const target = /** @type {HTMLInputElement} */ (event.target);
    const found = modelOf(target);
    const component = found && components.ownerOf(target);
    if (!component || isChoice(target)) return;
    component.edits[found.property] = target.value;
    if (!found.live) return;
    clearTimeout(waiting.get(target));
    waiting.set(target, setTimeout(() => calls.update(component, found.property, target.value), found.debounceMs));
  });

  document.addEventListener('change', (event) => {
    const target = /** @type {HTMLInputElement} */ (event.target);
    const found = modelOf(target);
    const component = found && components.ownerOf(target);
    if (!component || (target.type === 'radio' && !target.checked)) return;
    if (target.type === 'file') upload(client, component, target, found.property);
    else if (isChoice(target) || (found.lazy && !found.live)) calls.update(component, found.property, valueOf(target));
  });
}

async function upload({ calls, endpoint }, component, field, property) {
  if (!field.files.length) return;
  const { id, className } = component;
  // Most pages have no use for it.
  const { uploadFiles, withFiles } = await import('../upload.js');
  const uploaded = await uploadFiles(field, { endpoint, componentId: id, componentClass: className, property });
  if (!uploaded) return;
  const { identifiers, errors } = uploaded;
  // The list as it is when the update's turn comes.
  const value = () => withFiles(component.state[property], identifiers, field.multiple);
  if (identifiers.length) await calls.updateLater(component, property, value);
  if (errors.length) showErrors(component.root, { [property]: errors });
}
