// Parameters that diffyne.js has read from an action.

import { isChanged, keep } from './numbers.js';

const QUOTED = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/gs;

// Keeps the integers of parameters that were read from an action: `id(432224099704639488)`.
export function keepParams(params, action) {
  const texts = (action.replace(QUOTED, '').match(/-?\d{16,}/g) ?? []).filter(isChanged);
  const node = new Map();
  params.forEach((param, index) => {
    const at = typeof param === 'number' ? texts.findIndex((text) => Number(text) === param) : -1;
    if (at >= 0) node.set(String(index), texts.splice(0, at + 1).at(-1));
  });
  if (node.size) keep(params, node);
}
