// diff:poll="MS" calls diff:poll.action, or `refresh`, again and again.

import { parseAction } from '../action.js';

const POLL_MS = 2_000;

export function poll(client) {
  client.hooks.on('init', ({ component }) => {
    for (const place of component.root.querySelectorAll('[diff\\:poll]')) {
      if (client.components.ownerOf(place) === component) start(client, place);
    }
  });
}

function start({ components, calls }, place) {
  if (place.dataset.diffynePoll) return;
  place.dataset.diffynePoll = 'on';
  const timer = setInterval(() => {
    if (!place.isConnected) clearInterval(timer);
    else if (!document.hidden) {
      const component = components.ownerOf(place);
      const action = component && parseAction(place.getAttribute('diff:poll.action') ?? 'refresh');
      if (action) calls.call(component, action, { merge: true });
    }
  }, Number.parseInt(place.getAttribute('diff:poll'), 10) || POLL_MS);
}
