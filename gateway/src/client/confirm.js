// diff:confirm="Really?", diff:confirm.prompt="Type DELETE|DELETE". A page may ask by a dialog of its own: a listener
// for `confirm` sets `answer`, to a promise if need be.
export function isConfirmed(hooks, element, { name, value }) {
  const [message, word] = name.endsWith('prompt') ? value.replaceAll('\\n', '\n').split('|') : [value.replaceAll('\\n', '\n')];
  const detail = { element, message, word, answer: undefined };
  hooks.emit('confirm', detail);
  return detail.answer ?? (word === undefined ? window.confirm(message) : window.prompt(message) === word);
}
