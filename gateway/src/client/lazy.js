// Components that come after their page.

import { parseJson } from './page.js';

// Loads what a lazy component shows: {state, fingerprint, signature}.
export async function fill(root, id, load) {
  const loaded = await load(root, {
    componentClass: root.getAttribute('diff:class'),
    componentId: id,
    params: parseJson(root.getAttribute('diff:params'), {}),
    queryParams: Object.fromEntries(new URLSearchParams(location.search)),
  });
  root.innerHTML = loaded.html;
  root.setAttribute('diff:listeners', JSON.stringify(loaded.eventListeners ?? {}));
  root.removeAttribute('data-diffyne-lazy');
  root.setAttribute('data-diffyne-loaded', '');
  return loaded;
}
