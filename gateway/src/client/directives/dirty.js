// diff:dirty shows that something was typed which the server has not heard of: in its own field, in the fields of the
// properties that diff:target names, or in any field of the component.

import { dropEffect, setEffect, startEffects } from '../effects.js';
import { modelOf } from '../field.js';
import { edits } from '../typing.js';

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

function isDirty(element, { root, state }) {
  const said = edits(root, state);
  const names = element.getAttribute('diff:target')?.split(',').map((name) => name.trim());
  const own = modelOf(element)?.property;
  const wanted = names ?? (own ? [own] : Object.keys(said));
  return wanted.some((name) => Object.hasOwn(said, name) && JSON.stringify(said[name]) !== JSON.stringify(state[name]));
}
