// diff:click, diff:change and diff:submit call a method.

import { act } from '../action.js';
import { closest, nodeType } from '../dom.js';

const placeOf = ({ target }, directive) => (nodeType(target) === 1 ? closest(target, `[${CSS.escape(directive)}]`) : null);

export function events(client) {
  for (const kind of ['click', 'change']) {
    document.addEventListener(kind, (event) => {
      const place = placeOf(event, `diff:${kind}`);
      if (place) act(client, place, `diff:${kind}`);
    });
  }
  document.addEventListener('submit', (event) => {
    const form = placeOf(event, 'diff:submit');
    if (!form || !client.components.ownerOf(form)) return;
    event.preventDefault();
    act(client, form, 'diff:submit');
  });
}
