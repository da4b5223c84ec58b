// Why there is no connection, what is wrong with an answer that is no success, and what follows a refused subscription.

const KEY_REFUSED =
  'diffyne: the gateway refuses the key of this page, so its calls go by AJAX and it hears no broadcasts. '
  + 'The key in the address of the WebSocket has to be one of DIFFYNE_WS_KEY, and URL-encoded (+ is %2B).';

// A browser does not say why a handshake failed; the same address answers a request without one. Whether anybody has
// answered: the next failure may have a reason.
export async function explainRefusal(url) {
  const response = await fetch(url.replace(/^ws/, 'http'), { credentials: 'omit', cache: 'no-store' }).catch(() => null);
  if (response?.status === 401) console.error(KEY_REFUSED);
  return response !== null;
}

const ASTRAY = 'The answer sends the page to an address that is neither http nor https.';

// What is wrong with an answer: some refusals of the HTTP endpoint carry no type, and one that claims success leads astray.
/** @param {any} answer @param {number} [status] @returns {any} */
export function failureOf(answer, status) {
  if (answer?.s || answer?.success) return { message: ASTRAY, type: 'server_error' };
  return { message: answer?.error ?? `The server answered ${status}.`, type: answer?.type ?? typeOf(status), details: answer ?? {} };
}

function typeOf(status) {
  return { 400: 'validation_error', 403: 'security_error', 404: 'exception', 413: 'message_too_large', 429: 'rate_limited' }[status] ?? 'server_error';
}

const UNDECIDED = ['overloaded', 'worker_lost', 'timeout', 'server_error']; // a subscription may be granted later
const AGAIN_MS = 1_000; // at least, until then
let again; // what has been planned

// An error that is of no call. Subscriptions that nobody has had the time to decide about are asked for again by `subscribe`,
// once for all of them; thousands of pages may have been refused, so they do not all come back in the same moment.
export function refused({ type, error, message }, subscribe) {
  console.warn(`diffyne: ${message ?? error}`);
  if (!UNDECIDED.includes(type)) return;
  clearTimeout(again);
  again = setTimeout(subscribe, AGAIN_MS * (1 + Math.random()));
}
