// diff:loading shows that a call of its component is under way: that which a person has asked for, or those that
// diff:target names, which may be polls and updates of fields as well.

import { print } from '../numbers.js';
import { parseAction } from '../parameters.js';
import { dropEffect, setEffect, startEffects } from '../effects.js';

const DELAYS = { shortest: 50, shorter: 100, short: 150, default: 200, long: 300, longer: 500, longest: 1_000 };

export function loading({ components, hooks }) {
  startEffects(hooks);
  const all = new Set();
  const show = (one) => {
    const running = [...components.ownerOf(one.element)?.running ?? []];
    const isOn = running.some((call) => isMeant(one.element, call));
    clearTimeout(one.timer);
    if (isOn && one.delay && !one.isOn) one.timer = setTimeout(() => setEffect(one, true, 'dim'), one.delay);
    else setEffect(one, isOn, 'dim');
    one.isOn = isOn;
  };
  const showAll = ({ component }) => {
    for (const one of all) if (components.ownerOf(one.element) === component) show(one);
  };
  // When the event is over: a button that is disabled by then would not send its form.
  hooks.on('call', (call) => setTimeout(() => showAll(call)));
  hooks.on('settled', showAll);
  return (found) => {
    const one = { ...found, ...delayIn(found.modifiers), isOn: false, timer: undefined };
    all.add(one);
    show(one);
    return () => {
      all.delete(one);
      clearTimeout(one.timer);
      dropEffect(one);
    };
  };
}

function delayIn(modifiers) {
  const at = modifiers.indexOf('delay');
  if (at < 0) return { delay: 0 };
  const named = DELAYS[modifiers[at + 1]];
  return { delay: named ?? DELAYS.default, modifiers: modifiers.filter((_, index) => index !== at && !(named && index === at + 1)) };
}

// diff:target="save, find(3), name": methods, calls with these parameters, and properties; `.except`: all others.
function isMeant(element, { type, method, property, params, isQuiet }) {
  const isUsual = type === 'call' && !isQuiet;
  const except = element.getAttribute('diff:target.except');
  const names = except ?? element.getAttribute('diff:target');
  if (names === null) return isUsual;
  const isNamed = (names.match(/[^,(]+(?:\([^)]*\))?/g) ?? []).some((name) => {
    if (!name.includes('(')) return name.trim() === (method ?? property);
    const action = parseAction(name);
    return action?.method === method && print(action.params) === print(params);
  });
  return except === null ? isNamed : isUsual && !isNamed;
}
