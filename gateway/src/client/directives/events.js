// diff:click, diff:submit, diff:keydown.enter and those of any other event call a method. Of elements within each other
// the innermost that an event concerns acts.

import { act, prepare } from '../action.js';

const actors = new WeakMap(); // by event: the element that has acted

export function anyEvent(client) {
  return (found) => {
    prepare(found.value);
    if (!found.modifiers.length) {
      return listen(client, found, { target: found.element, concerns: () => true, run: (event) => act(client, found, event) });
    }
    let isOver = false;
    let end;
    import('./modifiers.js').then(({ modified }) => {
      if (!isOver) end = listen(client, found, modified(client, found));
    });
    return () => { isOver = true; end?.(); };
  };
}

/**
 * @param {any} client
 * @param {{element: Element, name: string}} found
 * @param {any} how
 */
function listen({ components }, { element, name }, { target, options, concerns, prevents, stops, once, run }) {
  let isOver = false;
  const listener = (event) => {
    if (!concerns(event)) return;
    // What listens to the window is no part of that.
    if (target === element) {
      if ((actors.get(event) ?? element) !== element) return;
      actors.set(event, element);
    }
    if (prevents || (name === 'submit' && components.ownerOf(element))) event.preventDefault();
    if (stops) event.stopPropagation();
    if (isOver) return;
    isOver = once;
    run(event);
  };
  target.addEventListener(name, listener, options);
  return () => {
    target.removeEventListener(name, listener, options);
    run.end?.();
  };
}
