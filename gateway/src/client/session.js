// A login or logout over the socket.

const COOKIES_MS = 5_000; // a call that logged in is answered after this, cookies or not

// The browser has to have its cookies before the next page does.
export async function takeCookies({ url, token }) {
  const headers = { 'Content-Type': 'application/json' };
  const signal = AbortSignal.timeout(COOKIES_MS);
  const done = fetch(url, { method: 'POST', headers, credentials: 'same-origin', body: JSON.stringify({ token }), signal });
  const response = await done.catch((error) => error);
  if (!response.ok) console.warn('diffyne: the cookies of a login could not be fetched', response.status ?? response.message);
}
