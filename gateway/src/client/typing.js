// What the user types is newer than any answer that was on its way: fields that are ahead of the server keep their
// text, and focus and selection survive a patch.

export const modelAttribute = (field) =>
  [...(field.attributes ?? [])].find(({ name }) => name === 'diff:model' || name.startsWith('diff:model.'));

export const valueOf = (field) => (field.type === 'checkbox' ? field.checked : field.value);

const isEqual = (field, value) =>
  field.type === 'checkbox' ? field.checked === Boolean(value) : field.value === String(value ?? '');

// A file is uploaded when it is chosen, and no script may set what such a field shows.
const isTyped = (field) => field.type !== 'file' && modelAttribute(field);
const fieldsIn = (root) => [...root.querySelectorAll('input, textarea, select')].filter(isTyped);

// Fields that the user has changed since the server last heard of them.
const changed = new WeakSet();
const remember = ({ target }) => target.type !== 'radio' && isTyped(target) && changed.add(target);
document.addEventListener('input', remember, true);
document.addEventListener('change', remember, true);

// Whether somebody is at work on this field.
export const isTyping = (root) => {
  const field = document.activeElement;
  return root.contains(field) && changed.has(field);
};

// Holds the fields of a component that are ahead of what a call has sent, while its answer is applied.
// `sent(property)` is what the call said. The function returned ends it, and gives the edits: {property: value}.
export function hold(root, sent) {
  const edits = {};
  const held = [];
  for (const field of fieldsIn(root)) {
    const property = modelAttribute(field).value;
    if (changed.has(field) && !isEqual(field, sent(property))) {
      edits[property] = valueOf(field);
      held.push({ field, ...pin(field) });
    } else {
      changed.delete(field);
    }
  }
  const focus = focusIn(root);
  return () => {
    for (const { field, value, unpin } of held) {
      unpin();
      if (field.isConnected) continue;
      // The patch has made it anew.
      const heir = heirOf(root, field);
      if (!heir) continue;
      if (heir.type === 'checkbox') heir.checked = value;
      else heir.value = value;
      changed.add(heir);
    }
    focus?.();
    return edits;
  };
}

// Whatever sets the field's value meanwhile is not heard: neither text nor caret nor a composition moves.
function pin(field) {
  const name = field.type === 'checkbox' ? 'checked' : 'value';
  const value = valueOf(field);
  Object.defineProperty(field, name, { configurable: true, get: () => value, set: () => {} });
  return { value, unpin: () => delete field[name] };
}

function heirOf(root, field) {
  const { name, value } = modelAttribute(field) ?? { name: 'id', value: field.id };
  if (!value) return null;
  return root.querySelector(`${field.localName}[${CSS.escape(name)}="${CSS.escape(value)}"]`);
}

// Gives the focus back to what takes the place of the focused field.
function focusIn(root) {
  const field = document.activeElement;
  if (field === document.body || !root.contains(field)) return null;
  const selection = selectionOf(field);
  return () => {
    if (field.isConnected) return;
    const heir = heirOf(root, field);
    if (!heir) return;
    heir.focus();
    if (selection) heir.setSelectionRange(...selection);
  };
}

function selectionOf(field) {
  // Some types of input have none, and say so by throwing.
  try {
    return field.selectionStart === null || field.selectionStart === undefined
      ? null
      : [field.selectionStart, field.selectionEnd, field.selectionDirection];
  } catch {
    return null;
  }
}
