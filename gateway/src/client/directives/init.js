// diff:init calls a method when its element has come to the page.

import { act } from '../action.js';

const begun = new WeakMap(); // by element: what its diff:init has called

export function init(client) {
  return (found) => {
    if (begun.get(found.element) === found.value) return;
    begun.set(found.element, found.value);
    act(client, found);
  };
}
