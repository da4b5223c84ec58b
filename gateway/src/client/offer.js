// What comes of a page of which there is a new release: an offer to load it again, or a reload when nothing is typed.

import { stored } from './page.js';

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
const STORED = 'diffyne:release'; // the release that this tab was loaded again for
const LOOK_MS = 500; // between looks whether the page may be loaded again

let bar = null;
let timer = null;

/**
 * There is a newer release. `setting(name)` is what the page says of it, `isAwaiting()` whether answers are to come, and
 * `fields` knows what users have typed.
 */
export function tellStale(release, setting, isAwaiting, fields) {
  const isBusy = () => isAwaiting() || isAnythingTyped(fields);
  if (bar?.isConnected || timer || recall() === release) return;
  const policy = setting('data-diffyne-stale') || 'prompt';
  const event = new CustomEvent('diffyne:stale', { detail: { release, policy }, cancelable: true });
  if (!document.dispatchEvent(event) || policy === 'ignore') return;
  // A tab that cannot remember would be loaded again and again while several releases are served.
  if (policy === 'reload' && remember(release)) {
    timer = setInterval(() => reloadWhenIdle(isBusy), LOOK_MS);
    return;
  }
  const later = () => remember(release);
  const reload = () => { remember(release); location.reload(); };
  bar = makeOffer(setting('data-diffyne-stale-texts'), reload, later);
  document.body.append(bar);
}

// Text that would be lost. A field that was emptied again, as after a message was sent, holds none.
function isAnythingTyped({ before, touched, contentOf }) {
  for (const field of touched) {
    if (!field.isConnected || contentOf(field) === before.get(field) || contentOf(field) === '') touched.delete(field);
  }
  return touched.size > 0;
}

function reloadWhenIdle(isBusy) {
  if (isBusy() || document.querySelector('input[type=file][aria-busy]')) return;
  clearInterval(timer);
  location.reload();
}

/** A bar with two buttons. `texts`: what it says and they do, or the usual. */
function makeOffer(texts, reload, later) {
  const [text, reloadLabel, laterLabel] = (texts || TEXTS).split('|');
  const made = Object.assign(document.createElement('div'), { className: 'diffyne-stale' });
  made.setAttribute('role', 'status');
  const button = (label, act) => {
    const labelled = Object.assign(document.createElement('button'), { type: 'button', textContent: label });
    labelled.addEventListener('click', act);
    return labelled;
  };
  made.append(Object.assign(document.createElement('span'), { textContent: text }));
  made.append(button(reloadLabel, reload), button(laterLabel, () => { later(); made.remove(); }));
  addStyle();
  return made;
}

let sheet = null;

// A sheet made by a script is no inline style, which the page may forbid.
function addStyle() {
  if (sheet) return;
  sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets.push(sheet);
}

// ---- what the tab remembers ----

let told = null;

function remember(release) {
  told = release;
  return stored(STORED, release) !== null;
}

const recall = () => stored(STORED) ?? told;
