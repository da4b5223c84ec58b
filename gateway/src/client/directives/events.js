// diff:click, diff:submit, diff:keydown.enter and those of any other event call a method. Of elements within each other
// the innermost that an event concerns acts.

import { act, prepare } from '../action.js';

const actors = new WeakMap(); // by event: the element that has acted

export function anyEvent(client) {
  return (found) => {
    prepare(found.value);
    if (!found.modifiers.length) {
      return listener(client, found, { target: found.element, concerns: () => true, run: (event) => act(client, found, event) }).end;
    }
    let isOver = false;
    let end;
    const takeEarly = holdBack(found);
    import('./modifiers.js').then(({ modified }) => {
      const early = takeEarly();
      if (isOver) return;
      const handler = listener(client, found, modified(client, found));
      end = handler.end;
      early.forEach(handler.run);
    });
    return () => { isOver = true; end?.(); };
  };
}

// Keeps the events that come while what knows their modifiers is loaded. Returns what ends that and hands them over.
function holdBack({ element, name, modifiers }) {
  const early = [];
  // Which keys are meant is not known yet.
  const isMeant = (word) => modifiers.includes(word) && !name.startsWith('key');
  const hold = (event) => {
    if (isMeant('prevent') || name === 'submit') event.preventDefault();
    if (isMeant('stop')) event.stopPropagation();
    early.push(event);
  };
  element.addEventListener(name, hold);
  return () => {
    element.removeEventListener(name, hold);
    return early;
  };
}

/**
 * @param {any} client
 * @param {{element: Element, name: string}} found
 * @param {any} how
 */
function listener({ components }, { element, name }, { target, options, concerns, prevents, stops, once, run }) {
  let isOver = false;
  const handle = (event) => {
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
  target.addEventListener(name, handle, options);
  const end = () => {
    target.removeEventListener(name, handle, options);
    run.end?.();
  };
  return { end, run: handle };
}
