// diff:show="open", "!open", "step == 2 && !done": whether an element shows, by the component's state, without a call.

import { dropEffect, setEffect, startEffects } from '../effects.js';
import { parseAction } from '../parameters.js';
import { edits } from '../typing.js';

export function show({ components, hooks }) {
  startEffects(hooks);
  const all = new Set();
  const update = (one) => {
    const component = components.ownerOf(one.element);
    if (!component) return;
    const { root, state } = component;
    setEffect({ ...one, modifiers: ['show'] }, isTrue(one.value, { ...state, ...edits(root, state) }));
  };
  hooks.on('morphed', () => all.forEach(update));
  for (const name of ['input', 'change', 'reset']) document.addEventListener(name, () => setTimeout(() => all.forEach(update)));
  return (found) => {
    all.add(found);
    update(found);
    return () => { all.delete(found); dropEffect(found); };
  };
}

const COMPARISONS = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '>=': (a, b) => a >= b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '<': (a, b) => a < b,
};

// Texts in it must not contain && or ||.
export function isTrue(expression, state) {
  return expression.split('||').some((one) => one.split('&&').every((term) => isTermTrue(term.trim(), state)));
}

function isTermTrue(term, state) {
  const [, left, sign, right] = /^(.+?)\s*([=!]=|[<>]=?)=?\s*(.+)$/s.exec(term) ?? [];
  if (sign) return COMPARISONS[sign](valueOf(left, state), valueOf(right, state));
  if (term.startsWith('!')) return !isTermTrue(term.slice(1).trim(), state);
  const value = valueOf(term, state);
  // An empty list or object is nothing, as in PHP.
  return typeof value === 'object' && value ? Object.keys(value).length > 0 : Boolean(value);
}

function valueOf(text, state) {
  if (/^[A-Za-z_$]/.test(text) && !['true', 'false', 'null'].includes(text)) {
    return text.split('.').reduce((inner, name) => inner?.[name], state);
  }
  return parseAction(`value(${text})`)?.params[0];
}
