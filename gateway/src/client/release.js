// Whether this page is of an older release than what is served now, and what comes of it: an offer to load it again, or
// a reload when nothing is typed.
//
// <html data-diffyne-stale="prompt"> (or reload, or ignore), on any element of the page
// data-diffyne-release: the release of a page whose components carry none, as those that the package renders
// data-diffyne-stale-texts="A new version is there.|Reload|Later": the words of the offer

// The gateway writes the release of its scripts here.
const SCRIPTS = 'RELEASE_OF_THE_SCRIPTS';
const STORED = 'diffyne:release'; // the release that this tab was loaded again for
const LOOK_MS = 500; // between looks whether the page may be loaded again
const TEXTS = 'A new version of this page is available.|Reload|Later';
// Rules of the page itself win.
const STYLE = [
  ':where(.diffyne-stale) { position: fixed; inset: auto 1rem 1rem; z-index: 2147483647; margin: 0 auto; max-width: 32rem;',
  'box-sizing: border-box; display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; padding: .75rem 1rem;',
  'border-radius: .6rem; font: 1rem/1.4 system-ui, sans-serif; color: #fff; background: #1c2230; box-shadow: 0 .25rem 1rem #0006; }',
  ':where(.diffyne-stale span) { flex: 1 1 12rem; }',
  ':where(.diffyne-stale button) { font: inherit; padding: .3rem .8rem; border: 1px solid #fff; border-radius: .4rem;',
  'color: #fff; background: none; cursor: pointer; }',
  ':where(.diffyne-stale button:first-of-type) { color: #1c2230; background: #fff; }',
].join('\n');

const setting = (name) => document.querySelector(`[${name}]`)?.getAttribute(name);

// ---- what is typed ----

const before = new WeakMap(); // what fields held when the user came to them
const touched = new Set();

const contentOf = (field) => {
  if (field.type === 'checkbox' || field.type === 'radio') return String(field.checked);
  return field.isContentEditable ? field.textContent : field.value ?? '';
};

document.addEventListener('focusin', ({ target }) => before.has(target) || before.set(target, contentOf(target)), true);
document.addEventListener('input', ({ target }) => touched.add(target), true);

// Text that would be lost. A field that was emptied again, as after a message was sent, holds none.
function isAnythingTyped() {
  for (const field of touched) {
    if (!field.isConnected || contentOf(field) === before.get(field) || contentOf(field) === '') touched.delete(field);
  }
  return touched.size > 0;
}

// ---- the release ----

export class Release {
  #isBusy;
  #known = null; // of a page that does not tell: what was served when it came
  #bar = null;
  #timer = null;

  // isBusy(): whether answers are to come
  constructor(isBusy) {
    this.#isBusy = isBusy;
  }

  // What the page tells with a message about a component.
  of(componentId) {
    const element = document.querySelector(`[diff\\:id="${CSS.escape(componentId ?? '')}"]`);
    const components = element?.getAttribute('diff:release') ?? setting('data-diffyne-release') ?? this.#known ?? '';
    return { scripts: SCRIPTS, components };
  }

  // A connection says what is served.
  /** @param {{scripts?: string, components?: string}} [release] */
  greeted({ scripts, components } = {}) {
    this.#known ??= components ?? null;
    if (scripts && scripts !== SCRIPTS) this.#stale(scripts);
  }

  // An answer names what is served, where that is not what the message has told.
  /** @param {{components: string}} told @param {{scripts?: string, components?: string}} [release] */
  answered(told, { scripts, components } = {}) {
    if (components && told.components === '') this.#known ??= components;
    const other = (told.components !== '' && components) || scripts;
    if (other) this.#stale(other);
  }

  #stale(release) {
    if (this.#bar?.isConnected || this.#timer || recall() === release) return;
    const policy = setting('data-diffyne-stale') || 'prompt';
    const event = new CustomEvent('diffyne:stale', { detail: { release, policy }, cancelable: true });
    if (!document.dispatchEvent(event) || policy === 'ignore') return;
    // A tab that cannot remember would be loaded again and again while several releases are served.
    if (policy === 'reload' && remember(release)) this.#timer = setInterval(() => this.#reloadWhenIdle(), LOOK_MS);
    else this.#offer(release);
  }

  #reloadWhenIdle() {
    if (this.#isBusy() || isAnythingTyped() || document.querySelector('input[type=file][aria-busy]')) return;
    clearInterval(this.#timer);
    location.reload();
  }

  #offer(release) {
    const [text, reload, later] = (setting('data-diffyne-stale-texts') || TEXTS).split('|');
    const bar = Object.assign(document.createElement('div'), { className: 'diffyne-stale' });
    bar.setAttribute('role', 'status');
    const button = (label, act) => {
      const made = Object.assign(document.createElement('button'), { type: 'button', textContent: label });
      made.addEventListener('click', () => { remember(release); act(); });
      return made;
    };
    bar.append(Object.assign(document.createElement('span'), { textContent: text }));
    bar.append(button(reload, () => location.reload()), button(later, () => bar.remove()));
    addStyle();
    document.body.append(bar);
    this.#bar = bar;
  }
}

// ---- what the tab remembers ----

let told = null;

function remember(release) {
  told = release;
  try {
    sessionStorage.setItem(STORED, release);
    return true;
  } catch {
    return false;
  }
}

function recall() {
  try {
    return sessionStorage.getItem(STORED) ?? told;
  } catch {
    return told;
  }
}

let sheet = null;

// A sheet made by a script is no inline style, which the page may forbid.
function addStyle() {
  if (sheet) return;
  sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets.push(sheet);
}
