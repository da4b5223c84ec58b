// Why there is no connection.

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
