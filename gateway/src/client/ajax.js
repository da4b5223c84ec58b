// Calls as HTTP requests.

import { queryAll } from './dom.js';
import { parseJson } from './page.js';
import { endParts, showPart } from './parts.js';

const LINES = 'application/x-ndjson'; // an answer whose parts come before it

// Laravel's token against forged requests, where the page has one.
export const csrfToken = () => queryAll(document, 'meta[name="csrf-token"]')[0]?.getAttribute('content');

// Sends a call. The answer and its status, or whether none came in time; parts of an answer give it its time anew.
/** @returns {Promise<{answer?: any, status?: number, isLate?: boolean}>} */
export async function post(url, text, clientId, ms) {
  const headers = { 'Content-Type': 'application/json', Accept: `application/json, ${LINES}`, 'X-Requested-With': 'XMLHttpRequest' };
  if (clientId) headers['X-Diffyne-Client-Id'] = clientId;
  const csrf = csrfToken();
  if (csrf) headers['X-CSRF-TOKEN'] = csrf;
  const credentials = new URL(url, location.href).origin === location.origin ? 'same-origin' : 'include';
  const abort = new AbortController();
  let timer;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(), ms);
  };
  await online(ms);
  wait();
  try {
    const response = await fetch(url, { method: 'POST', headers, credentials, body: text, signal: abort.signal });
    const inLines = response.headers.get('Content-Type') === LINES;
    const answer = inLines ? await readLines(response, wait) : parseJson(await response.text().catch(() => ''), null);
    return { answer, status: response.status };
  } catch {
    return { isLate: abort.signal.aborted };
  } finally {
    clearTimeout(timer);
  }
}

// Without a network a call waits for it, as long as for an answer.
async function online(ms) {
  if (navigator.onLine !== false) return;
  await new Promise((resolve) => {
    window.addEventListener('online', resolve, { once: true });
    setTimeout(resolve, ms);
  });
}

// Reads an answer that comes in lines, its parts before it. `heard()` is called whenever something has come.
export async function readLines(response, heard) {
  const call = {};
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let answer = null;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      heard();
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const { event, data } = parseJson(line, {});
        if (event === 'diffyne.part') showPart(call, data);
        else if (event) answer = data;
      }
    }
    // Cookies came too late for the headers of the response.
    if (answer?.session) await import('./session.js').then(({ takeCookies }) => takeCookies(answer.session)).catch(console.warn);
  } finally {
    endParts(call);
  }
  return answer;
}
