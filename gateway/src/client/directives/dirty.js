// diff:dirty shows that something was typed which the server has not heard of: in its own field, in the fields of the
// properties that diff:target names, or in any field of the component.

import { dropEffect, setEffect, startEffects } from '../effects.js';
import { modelOf } from '../models.js';

export function dirty({ components, hooks }) {
  startEffects(hooks);
  const all = new Set();
  const show = (one) => {
    const component = components.ownerOf(one.element);
    if (component) setEffect(one, isDirty(one.element, component), 'show');
  };
  const showAll = () => all.forEach(show);
  for (const name of ['morphed', 'settled']) hooks.on(name, showAll);
  // Whoever notes what was typed is told first.
  for (const name of ['input', 'change', 'reset']) document.addEventListener(name, () => setTimeout(showAll));
  return (found) => {
    all.add(found);
    show(found);
    return () => { all.delete(found); dropEffect(found); };
  };
}

function isDirty(element, { edits, state }) {
  const names = element.getAttribute('diff:target')?.split(',').map((name) => name.trim());
  const own = modelOf(element)?.property;
  const wanted = names ?? (own ? [own] : Object.keys(edits));
  return wanted.some((name) => name in edits && String(edits[name] ?? '') !== String(state[name] ?? ''));
}
