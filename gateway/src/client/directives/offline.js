// diff:offline shows that the browser has no network.

import { dropEffect, setEffect, startEffects } from '../effects.js';

export function offline({ hooks }) {
  startEffects(hooks);
  const all = new Set();
  const show = (one) => setEffect(one, !navigator.onLine, 'show');
  for (const name of ['online', 'offline']) window.addEventListener(name, () => all.forEach(show));
  return (found) => {
    all.add(found);
    show(found);
    return () => { all.delete(found); dropEffect(found); };
  };
}
