// diff:click, diff:change and diff:submit call a method.

import { act } from '../action.js';

const closest = (event, directive) => event.target.closest?.(`[${CSS.escape(directive)}]`);

export function events(client) {
  for (const kind of ['click', 'change']) {
    document.addEventListener(kind, (event) => {
      const place = closest(event, `diff:${kind}`);
      if (place) act(client, place, `diff:${kind}`);
    });
  }
  document.addEventListener('submit', (event) => {
    const form = closest(event, 'diff:submit');
    if (!form || !client.components.ownerOf(form)) return;
    event.preventDefault();
    act(client, form, 'diff:submit');
  });
}
