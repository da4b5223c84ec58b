// diff:poll="MS" calls diff:poll.action, or `refresh`, again and again; diff:poll.5s="method" says both at once. It
// waits while the page is hidden (not with .keep-alive), while the element is not in view (.visible), and while other
// calls of the component are under way.

import { islandOf } from '../dom.js';
import { parseAction } from '../parameters.js';
import { timeIn } from './modifiers.js';

const POLL_MS = 2_000;
const AGAIN_MS = 200; // a poll whose answer came too late is repeated after this

export function poll(client) {
  return (found) => (found.modifiers.includes('action') ? undefined : start(client, found));
}

function start({ components, calls }, { element, modifiers, value }) {
  const isNumber = /^\s*\d+\s*(ms|s)?\s*$/.test(value);
  const every = timeIn(isNumber ? value.replace(/\s/g, '') : modifiers.find((word) => /^\d/.test(word)), POLL_MS) || POLL_MS;
  const isAsleep = () => document.hidden && !modifiers.includes('keep-alive');
  let timer;
  let isLate = false; // it was time for it, and nobody saw the page
  const again = (ms) => { timer = setTimeout(tick, ms); };

  async function tick() {
    isLate = isAsleep();
    if (isLate) return;
    const component = components.ownerOf(element);
    const said = element.getAttribute('diff:poll.action') || (isNumber ? '' : value) || 'refresh';
    const action = component && !(modifiers.includes('visible') && !isInView(element)) && parseAction(said);
    const ending = timer;
    const isDone = !action || await calls.poll(component, { ...action, island: islandOf(element) });
    // Ended while it waited.
    if (timer === ending) again(isDone ? every : Math.min(AGAIN_MS, every));
  }
  const wake = () => { if (isLate && !isAsleep()) tick(); };
  document.addEventListener('visibilitychange', wake);
  again(every);
  return () => {
    document.removeEventListener('visibilitychange', wake);
    clearTimeout(timer);
    timer = undefined;
  };
}

function isInView(element) {
  const { top, bottom, left, right } = element.getBoundingClientRect();
  return bottom > 0 && right > 0 && top < window.innerHeight && left < window.innerWidth;
}
