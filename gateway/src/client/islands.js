// Islands: parts of a component that the server has rendered alone. Their patches lead from the island's element.

import { own, parentNode } from './dom.js';
import { applyPatches, fillWith } from './patches.js';

// islands: {name: patches}. What went wrong, as `applyPatches` tells it.
/** @param {any} root @param {{[name: string]: any[]}} islands @param {(field: any) => boolean} isKept */
export function applyIslands(root, islands, isKept) {
  const faults = [];
  for (const [name, patches] of Object.entries(islands)) {
    // None where the view does not show it now.
    for (const element of own(root, `[diff\\:island="${CSS.escape(name)}"]`)) {
      // The element itself, with its attributes, belongs to what is around it.
      const whole = patches.find(({ t, p }) => (t === 'R' || t === 'c') && !p.length);
      if (whole) {
        element.replaceChildren();
        fillWith(element, whole.d.node);
      } else faults.push(...applyPatches(parentNode(element), patches, isKept, element));
    }
  }
  return faults;
}
