// What a message says of the server's signature, so that values that are locked can be told from those that the user
// has edited.
//
// Workers of ours sign twice, in one string: `SIGNATURE.LOCK`. The package's own endpoint, which calls may reach while
// there is no gateway, compares the first part alone; so the second goes in a field of its own. A page that the
// package has rendered comes with the first part only. It covers the state as the server has sent it; so a call that
// takes edits along says in `base` what the edited fields were.

export function signed({ signature, state }, original) {
  const at = signature?.indexOf('.') ?? -1;
  if (at >= 0) return { signature: signature.slice(0, at), lock: signature.slice(at + 1) };
  if (!signature || !original || !state) return {};
  const edited = Object.keys(original).filter((name) => JSON.stringify(original[name]) !== JSON.stringify(state[name]));
  // A field that the server does not know would not be covered, and means nothing to it.
  const known = Object.fromEntries(Object.entries(state).filter(([name]) => name in original));
  return edited.length ? { state: known, base: Object.fromEntries(edited.map((name) => [name, original[name]])) } : {};
}
