// diff:model binds a field to a property: `.live` calls while one types, `.lazy` when one leaves the field.

import { listen } from '../dom.js';
import { isChoice, isField, modelOf } from '../field.js';
import { shown } from '../numbers.js';
import { meet, unheardIn, whenChanged } from '../typing.js';

const waiting = new WeakMap(); // timers of live fields

export function model(client) {
  const { calls, components, hooks } = client;

  const review = (component) => {
    for (const field of unheardIn(component.root)) calls.updateField(component, field);
  };
  hooks.on('init', ({ component, isBack }) => {
    if (!isBack) meet(component.root, shown(component.state));
    review(component);
  });
  whenChanged(() => [...components.all()].forEach(review));

  listen('input', ({ target }) => {
    const component = isField(target) && !isChoice(target) && components.ownerOf(target);
    if (!component) return;
    const { property, live, debounceMs } = modelOf(target);
    if (!live) return;
    clearTimeout(waiting.get(target));
    // The field may have been made anew by then, or bound to another property.
    waiting.set(target, setTimeout(() => calls.updateField(component, target, property), debounceMs));
  });

  listen('change', ({ target }) => {
    const found = modelOf(target);
    const component = found && components.ownerOf(target);
    if (!component || (target.type === 'radio' && !target.checked)) return;
    // Most pages have no use for it.
    if (target.type === 'file') import('../upload.js').then(({ takeFiles }) => takeFiles(client, component, target, found.property));
    else if (isField(target) && (isChoice(target) || found.lazy)) calls.updateField(component, target);
  });
}
