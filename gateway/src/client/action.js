// What a directive says is to be called: `method`, or `method(1, 'x', true)`.

import { attribute } from './dom.js';
import { keepParams } from './numbers.js';
import { parseJson } from './page.js';

export function parseAction(text) {
  const [, method, list = ''] = text.match(/^\s*([\w$]+)\s*(?:\((.*)\)\s*)?$/s) ?? [];
  if (!method) {
    console.warn(`diffyne: ${text} is no action`);
    return null;
  }
  const params = [];
  for (const [, single, double, word] of list.matchAll(/'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^,\s]+)/g)) {
    const quoted = single ?? double;
    if (quoted !== undefined) params.push(quoted.replace(/\\(.)/g, '$1'));
    else params.push(word === 'null' ? null : parseJson(word, word));
  }
  keepParams(params, list);
  return { method, params };
}

// Calls what an element's directive says.
export function act({ components, calls }, place, directive) {
  const component = components.ownerOf(place);
  const action = component && parseAction(attribute(place, directive));
  if (action) calls.call(component, action);
}
