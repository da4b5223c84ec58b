// The offer to load a page again, of which there is a new release.

const TEXTS = 'A new version of this page is available.|Reload|Later';
// Rules of the page itself win.
const STYLE = [
  ':where(.diffyne-stale) {',
  'position: fixed; inset: auto 1rem 1rem; z-index: 2147483647; margin: 0 auto; max-width: 32rem; box-sizing: border-box;',
  'display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; padding: .75rem 1rem; border-radius: .6rem;',
  'font: 1rem/1.4 system-ui, sans-serif; color: #fff; background: #1c2230; box-shadow: 0 .25rem 1rem #0006;',
  '}',
  ':where(.diffyne-stale span) { flex: 1 1 12rem; }',
  ':where(.diffyne-stale button) {',
  'font: inherit; padding: .3rem .8rem; border: 1px solid #fff; border-radius: .4rem; color: #fff; background: none; cursor: pointer;',
  '}',
  ':where(.diffyne-stale button:first-of-type) { color: #1c2230; background: #fff; }',
].join(' ');

/** A bar with two buttons. `texts`: what it says and they do, or the usual. */
export function makeOffer(texts, reload, later) {
  const [text, reloadLabel, laterLabel] = (texts || TEXTS).split('|');
  const bar = Object.assign(document.createElement('div'), { className: 'diffyne-stale' });
  bar.setAttribute('role', 'status');
  const button = (label, act) => {
    const made = Object.assign(document.createElement('button'), { type: 'button', textContent: label });
    made.addEventListener('click', act);
    return made;
  };
  bar.append(Object.assign(document.createElement('span'), { textContent: text }));
  bar.append(button(reloadLabel, reload), button(laterLabel, () => { later(); bar.remove(); }));
  addStyle();
  return bar;
}

let sheet = null;

// A sheet made by a script is no inline style, which the page may forbid.
function addStyle() {
  if (sheet) return;
  sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets.push(sheet);
}
