// The page's query string.

import { isLeaving } from './page.js';

// Puts values into it. A click is a step that one can go back; typing changes the step that one is at, and what is there
// already is no step.
export function setQuery(values, type) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === '') url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  if (isLeaving || url.href === location.href) return;
  if (type === 'update') history.replaceState({ ...history.state, diffyne: true }, '', url);
  else history.pushState({ diffyne: true }, '', url);
}
