// What a message says of the server's signature, so that values that are locked can be told from those that the user
// has edited.
//
// Workers of ours sign twice, in one string: `SIGNATURE.LOCK`. The package's own endpoint, which calls may reach while
// there is no gateway, compares the first part alone; so the second goes in a field of its own. A page that the
// package has rendered comes with the first part only. It covers the state as the server has sent it; so a call that
// takes edits along says in `base` what the edited fields were. That is also what the page shows of them elsewhere.

export function signed({ signature, state }, original) {
  if (!signature) return {};
  const [first, ...lock] = signature.split('.');
  const parts = lock.length ? { signature: first, lock: lock.join('.') } : {};
  if (!original || !state) return parts;
  const edited = Object.keys(original).filter((name) => JSON.stringify(original[name]) !== JSON.stringify(state[name]));
  // A field that the server does not know would not be covered, and means nothing to it.
  const known = Object.fromEntries(Object.entries(state).filter(([name]) => name in original));
  return edited.length ? { ...parts, state: known, base: Object.fromEntries(edited.map((name) => [name, original[name]])) } : parts;
}
