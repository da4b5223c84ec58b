// What directives lay over an element for a time: classes, attributes, whether it shows. The server goes on changing
// what is below: while patches are applied the element is as the server has rendered it, and what an effect covers is
// noted in the page itself, so that a copy of the page can be put right as well.

const BASE = 'data-diffyne-base'; // JSON: {name: value or null}, and {'.class': whether it was there}
const HIDDEN = 'data-diffyne-hidden';
const DIMMED = 'data-diffyne-dimmed';
const RULES = `[${HIDDEN}]{display:none!important}[${DIMMED}]{opacity:.5!important;pointer-events:none!important}`;

const effects = new WeakMap(); // by element: a Map from directives (by attribute) to effects

const started = new WeakSet(); // hooks that are listened to

// To be called by each directive that has effects.
export function startEffects(hooks) {
  if (started.has(hooks)) return;
  started.add(hooks);
  addRules();
  let uncovered = [];
  hooks.on('morph', ({ component: { root } }) => {
    uncovered = [...root.querySelectorAll(`[${BASE}]`)];
    uncovered.forEach(uncover);
  });
  hooks.on('morphed', () => uncovered.splice(0).forEach(cover));
}

function addRules() {
  try {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(RULES);
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  } catch {
    // Browsers before 2023.
    const style = document.createElement('style');
    style.textContent = RULES;
    document.documentElement.append(style);
  }
}

// Lays what a directive says over its element, or takes it away. `byDefault` is what it says without a modifier.
export function setEffect({ element, attribute, modifiers, value }, on, byDefault) {
  const [effect, isHiding] = effectOf(modifiers, value, byDefault);
  const mine = effects.get(element) ?? new Map();
  effects.set(element, mine);
  if (on !== isHiding) mine.set(attribute, effect);
  else mine.delete(attribute);
  uncover(element);
  cover(element);
}

// No effect any more: the directive is gone.
export function dropEffect({ element, attribute }) {
  effects.get(element)?.delete(attribute);
  uncover(element);
  cover(element);
}

const SHOWN = ['show', 'block', 'inline', 'inline-block', 'flex', 'inline-flex', 'grid', 'table'];
const words = (text) => text.split(/\s+/).filter(Boolean);

// The effect, and whether it is there while the directive's state is off.
function effectOf([kind, argument, ...more], value, byDefault) {
  const classes = argument && argument !== 'remove' ? [argument] : words(value);
  if (kind === 'class') return [{ [argument === 'remove' ? 'drop' : 'add']: classes }, false];
  if (kind === 'remove' && argument) return [{ drop: [argument] }, false];
  if (kind === 'remove') return [{ set: { [HIDDEN]: '' } }, false];
  if (kind === 'attr') return [{ set: argument ? { [argument]: more.join('.') } : Object.fromEntries(words(value).map((name) => [name, ''])) }, false];
  if (SHOWN.includes(kind) || byDefault === 'show') return [{ set: { [HIDDEN]: '' } }, true];
  return [{ set: { [DIMMED]: '' } }, false];
}

function uncover(element) {
  const text = element.getAttribute(BASE);
  if (text === null) return;
  element.removeAttribute(BASE);
  for (const [name, value] of Object.entries(JSON.parse(text))) {
    if (name[0] === '.') {
      element.classList.toggle(name.slice(1), value);
      if (!element.classList.length) element.removeAttribute('class');
    }
    else if (value === null) element.removeAttribute(name);
    else element.setAttribute(name, value);
  }
}

function cover(element) {
  const base = {};
  const setClass = (name, on) => {
    base[`.${name}`] ??= element.classList.contains(name);
    element.classList.toggle(name, on);
  };
  for (const { add = [], drop = [], set = {} } of effects.get(element)?.values() ?? []) {
    for (const name of add) setClass(name, true);
    for (const name of drop) setClass(name, false);
    for (const [name, value] of Object.entries(set)) {
      if (!(name in base)) base[name] = element.getAttribute(name);
      element.setAttribute(name, value);
    }
  }
  if (Object.keys(base).length) element.setAttribute(BASE, JSON.stringify(base));
}
