// Directives of events with modifiers: `.enter`, `.prevent`, `.window`, `.throttle.500` and others.

import { act } from '../action.js';
import { contains } from '../dom.js';

const PAUSE_MS = 250;
const KEYS = {
  esc: 'escape', space: ' ', up: 'arrowup', down: 'arrowdown', left: 'arrowleft', right: 'arrowright', slash: '/', period: '.', comma: ',', plus: '+',
};
const SYSTEM_KEYS = { ctrl: 'ctrlKey', cmd: 'metaKey', meta: 'metaKey', shift: 'shiftKey', alt: 'altKey' };
const WORDS = ['prevent', 'stop', 'self', 'once', 'window', 'document', 'outside', 'passive', 'capture', 'debounce', 'throttle'];

// How an element listens.
export function modified(client, found) {
  const { element, modifiers } = found;
  const has = (word) => modifiers.includes(word);
  return {
    target: has('window') ? window : has('document') || has('outside') ? document : element,
    options: { capture: has('capture'), passive: has('passive') },
    concerns: (event) => concerns(event, element, modifiers),
    prevents: has('prevent'),
    stops: has('stop'),
    once: has('once'),
    run: paced(modifiers, (event) => act(client, found, event)),
  };
}

function concerns(event, element, modifiers) {
  if (modifiers.includes('self') && event.target !== element) return false;
  if (modifiers.includes('outside') && contains(element, event.target)) return false;
  for (const [word, property] of Object.entries(SYSTEM_KEYS)) if (modifiers.includes(word) && !event[property]) return false;
  if (!event.type.startsWith('key')) return true;
  // Enter that chooses a word of an input method is not meant for the page.
  if (event.isComposing) return false;
  const keys = modifiers.filter((word) => !WORDS.includes(word) && !(word in SYSTEM_KEYS) && !/^\d/.test(word));
  return !keys.length || keys.some((key) => (KEYS[key] ?? key.replaceAll('-', '')) === event.key?.toLowerCase());
}

// `.debounce.MS` acts when nothing has happened for so long, `.throttle.MS` at once and then not for so long.
function paced(modifiers, work) {
  let timer;
  const timeOf = (word) => (modifiers.includes(word) ? timeIn(modifiers[modifiers.indexOf(word) + 1], PAUSE_MS) : 0);
  const [debounceMs, throttleMs] = [timeOf('debounce'), timeOf('throttle')];
  if (!debounceMs && !throttleMs) return work;
  const run = (event) => {
    if (debounceMs) {
      clearTimeout(timer);
      timer = setTimeout(() => work(event), debounceMs);
    } else if (!timer) {
      work(event);
      timer = setTimeout(() => { timer = undefined; }, throttleMs);
    }
  };
  run.end = () => clearTimeout(timer);
  return run;
}

// `.debounce.250`, `.debounce.250ms`, `.poll.5s`: the time behind a modifier, in ms.
export function timeIn(text, otherwise) {
  const [, number, unit] = /^(\d+)(ms|s)?$/.exec(text ?? '') ?? [];
  return number ? Number(number) * (unit === 's' ? 1_000 : 1) : otherwise;
}
