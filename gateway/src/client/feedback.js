// What a component shows while a call is under way (diff:loading) and when its fields have faults (diff:error).

const withAttribute = (root, start) =>
  [...root.querySelectorAll('*')].flatMap((element) =>
    [...element.attributes].filter(({ name }) => name === start || name.startsWith(`${start}.`)).map(({ name }) => ({ element, name })));

const before = new WeakMap(); // what diff:loading.attr has replaced

// diff:loading.class.X, diff:loading.remove.X, diff:loading.attr.N.V; without a modifier the element is dimmed.
export function showLoading(root, on) {
  for (const { element, name } of withAttribute(root, 'diff:loading')) {
    const [, kind, argument, value = ''] = name.split('.');
    if (kind === 'class') element.classList.toggle(argument, on);
    else if (kind === 'remove') element.classList.toggle(argument, !on);
    else if (kind === 'attr') loadingAttribute(element, argument, value, on);
    else Object.assign(element.style, on ? { opacity: '0.5', pointerEvents: 'none' } : { opacity: '', pointerEvents: '' });
  }
}

function loadingAttribute(element, name, value, on) {
  if (on) {
    if (!before.has(element)) before.set(element, element.getAttribute(name));
    element.setAttribute(name, value);
    return;
  }
  const old = before.get(element) ?? null;
  before.delete(element);
  if (old === null) element.removeAttribute(name);
  else element.setAttribute(name, old);
}

// errors: {field: [text]}. Each text stands in the element that names its field; the field itself is marked.
export function showErrors(root, errors) {
  for (const place of root.querySelectorAll('[diff\\:error]')) {
    const text = errors[place.getAttribute('diff:error')]?.[0] ?? '';
    place.textContent = text;
    place.hidden = !text;
  }
  for (const { element, name } of withAttribute(root, 'diff:model')) {
    const faulty = element.getAttribute(name) in errors;
    if (faulty !== element.classList.contains('diffyne-error')) element.classList.toggle('diffyne-error', faulty);
    if (faulty) element.setAttribute('aria-invalid', 'true');
    else element.removeAttribute('aria-invalid');
  }
}
