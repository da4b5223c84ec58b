// diff:click, diff:submit, diff:keydown.enter and those of any other event call a method. Of elements within each other
// the innermost that an event concerns acts.

import { act } from '../action.js';
import { contains } from '../dom.js';
import { timeIn } from '../directives.js';

const PAUSE_MS = 250;
const KEYS = {
  esc: 'escape', space: ' ', up: 'arrowup', down: 'arrowdown', left: 'arrowleft', right: 'arrowright', slash: '/', period: '.', comma: ',', plus: '+',
};
const SYSTEM_KEYS = { ctrl: 'ctrlKey', cmd: 'metaKey', meta: 'metaKey', shift: 'shiftKey', alt: 'altKey' };
const WORDS = ['prevent', 'stop', 'self', 'once', 'window', 'document', 'outside', 'passive', 'capture', 'debounce', 'throttle'];

const actors = new WeakMap(); // by event: the element that has acted

export function anyEvent(client) {
  return (found) => {
    const { element, name, modifiers } = found;
    const has = (word) => modifiers.includes(word);
    const target = has('window') ? window : has('document') || has('outside') ? document : element;
    const options = { capture: has('capture'), passive: has('passive') };
    const run = paced(modifiers, (event) => act(client, found, event));
    let isOver = false;
    const listener = (event) => {
      if (!concerns(event, element, modifiers)) return;
      // What listens to the window is no part of that.
      if (target === element) {
        if ((actors.get(event) ?? element) !== element) return;
        actors.set(event, element);
      }
      if (has('prevent') || (name === 'submit' && client.components.ownerOf(element))) event.preventDefault();
      if (has('stop')) event.stopPropagation();
      if (isOver) return;
      isOver = has('once');
      run(event);
    };
    target.addEventListener(name, listener, options);
    return () => {
      target.removeEventListener(name, listener, options);
      run.end?.();
    };
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
