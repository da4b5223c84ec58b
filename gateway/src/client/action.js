// What a directive says is to be called.

import { attributes, islandOf } from './dom.js';
import { fieldsIn, rawOf } from './field.js';
import { print } from './numbers.js';
import { submitOnce } from './typing.js';

let parse = null; // what reads parameters, once it is loaded
const loadParser = async () => { parse ??= (await import('./parameters.js')).parseAction; };

// So that it is there when the action is called.
export const prepare = (text) => { if (!plainAction(text)) loadParser(); };

// A method without parameters.
function plainAction(text) {
  const method = /^\s*([\w$]+)\s*$/.exec(text)?.[1];
  return method ? { method, params: [] } : null;
}

// Calls what a directive says, once the person has confirmed it where diff:confirm asks.
/**
 * @param {any} client
 * @param {{element: Element, value: string}} directive
 * @param {Event & {submitter?: Element}} [event]
 */
export async function act({ calls, components, hooks }, { element, value }, event) {
  const component = components.ownerOf(element);
  if (!component) return;
  if (!plainAction(value) && !parse) await loadParser();
  const action = plainAction(value) ?? parse(value, event);
  if (!action) return;
  const asking = event && [event.submitter, element].find((asked) => asked && questionOf(asked));
  if (asking) {
    const { isConfirmed } = await import('./confirm.js');
    if (!await isConfirmed(hooks, asking, questionOf(asking))) return;
  }
  const call = () => calls.call(component, { ...action, island: islandOf(element) });
  if (event?.type === 'submit') submitOnce(event.target, print([action, fieldsIn(component.root).map(rawOf)]), call);
  else call();
}

// diff:confirm, or diff:confirm.prompt.
const questionOf = (element) => [...attributes(element)].find(({ name }) => /^diff:confirm(\.prompt)?$/.test(name));
