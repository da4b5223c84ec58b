// How long 3 000 patches of each kind take in a table of 3 000 rows: the best of three, in milliseconds.
import('/_diffyne/patches.js').then(({ applyPatches }) => {
  const ROWS = 3000;
  const row = (n) => `<tr diff:key="${n}"><td>${n}</td> <td><b>x</b></td></tr>`;
  const html = `<table><tbody>${Array.from({ length: ROWS }, (_, n) => row(n)).join('\n')}</tbody></table>`;
  const each = (patch) => Array.from({ length: ROWS }, (_, n) => patch(n));
  const node = { t: 'tr', c: [{ t: 'td', c: [{ x: 'new' }] }] };
  const kinds = {
    texts: each((n) => ({ t: 't', p: [0, n, 0, 0], d: { x: `y${n}` } })),
    attributes: each((n) => ({ t: 'a', p: [0, n, 1], d: { s: { class: 'new' } } })),
    removes: each((n) => ({ t: 'r', p: [0, n] })),
    creates: each((n) => ({ t: 'c', p: [0, n * 2], d: { node } })),
    replaces: each((n) => ({ t: 'R', p: [0, n], d: { node } })),
    moves: [{ t: 'o', p: [0], d: { moves: each((n) => ({ from: ROWS - 1, to: n })) } }],
  };
  const once = (patches) => {
    const wrapper = document.createElement('div');
    wrapper.innerHTML = html;
    document.body.append(wrapper);
    const start = performance.now();
    const faults = applyPatches(wrapper, patches);
    const ms = performance.now() - start;
    wrapper.remove();
    if (faults.length) throw faults[0];
    return ms;
  };
  return Object.fromEntries(Object.entries(kinds).map(([kind, patches]) => [kind, Math.min(once(patches), once(patches), once(patches))]));
});
