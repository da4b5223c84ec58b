// Whether this page is of an older release than what is served now, and what comes of it: an offer to load it again, or
// a reload when nothing is typed.
//
// <html data-diffyne-stale="prompt"> (or reload, or ignore), on any element of the page
// data-diffyne-release: the release of a page whose components carry none, as those that the package renders
// data-diffyne-stale-texts="A new version is there.|Reload|Later": the words of the offer

// The gateway writes the release of its scripts here.
const SCRIPTS = 'RELEASE_OF_THE_SCRIPTS';
const setting = (name) => document.querySelector(`[${name}]`)?.getAttribute(name);

// ---- what is typed ----

const before = new WeakMap(); // what fields held when the user came to them
const touched = new Set();

const contentOf = (field) => {
  if (['checkbox', 'radio'].includes(field.type)) return String(field.checked);
  return field.isContentEditable ? field.textContent : field.value ?? '';
};

document.addEventListener('focusin', ({ target }) => before.has(target) || before.set(target, contentOf(target)), true);
document.addEventListener('input', ({ target }) => touched.add(target), true);

// ---- the release ----

export class Release {
  #isBusy;
  #known = null; // of a page that does not tell: what was served when it came

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

  // Few pages come to that.
  async #stale(release) {
    const { tellStale } = await import('./offer.js');
    tellStale(release, setting, this.#isBusy, { before, touched, contentOf });
  }
}
