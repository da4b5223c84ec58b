// One response of the server with events: a stream of them, or the answer to a poll.

import { read } from './numbers.js';

const HELD_MS = 5_000; // a stream that has not begun by then is held back on its way
const SILENCE_MS = 80_000; // the server says something every 25 s
const GRACE_MS = 15_000; // that a poll may take longer than the server waits

export class EventStream {
  #url;
  #poll;
  #handlers;
  #control = new AbortController();
  #timer = null;
  #outcome = null; // why it was ended from here
  #isOpen = false;
  #isNew = false;
  #waitMs = 0;

  // poll: {seconds, clientId}, or null for a stream
  // handlers: opened(), received(message)
  constructor(url, poll, handlers) {
    this.#url = poll ? `${url}?poll=${poll.seconds}` : url;
    this.#poll = poll;
    this.#handlers = handlers;
  }

  end(outcome) {
    this.#outcome ??= outcome;
    this.#control.abort();
  }

  // Hears until the end. `wish`: {events, epoch, offset, grant, key}. {outcome, waitMs, isNew}: `renewed` and `over` (from here),
  // `told` (by the server, to come again), `ended` (not to come again), `answered` (a poll), `cut` (after it had begun),
  // `held` (it did not begin), `refused`, `failed`.
  async run(wish) {
    const outcome = await this.#exchange(wish).catch(() => (this.#isOpen ? 'cut' : 'failed'));
    clearTimeout(this.#timer);
    return { outcome: this.#outcome ?? outcome, waitMs: this.#waitMs, isNew: this.#isNew };
  }

  async #exchange(wish) {
    this.#expect(this.#poll ? this.#poll.seconds * 1_000 + GRACE_MS : HELD_MS, 'held');
    const headers = { 'Content-Type': 'application/json', Accept: 'text/event-stream' };
    if (this.#poll?.clientId) headers['X-Diffyne-Client-Id'] = this.#poll.clientId;
    const credentials = new URL(this.#url, location.href).origin === location.origin ? 'same-origin' : 'include';
    const { signal } = this.#control;
    const response = await fetch(this.#url, { method: 'POST', headers, credentials, body: JSON.stringify(wish), cache: 'no-store', signal });
    if (!response.ok) {
      this.#waitMs = Number(response.headers.get('Retry-After') ?? 0) * 1_000;
      return [401, 403, 404, 405].includes(response.status) ? 'refused' : 'failed';
    }
    if (!response.headers.get('Content-Type')?.startsWith('text/event-stream')) return 'refused';
    await this.#read(response.body.pipeThrough(new TextDecoderStream()).getReader());
    if (!this.#isOpen) return 'held';
    return this.#poll ? 'answered' : 'cut';
  }

  async #read(reader) {
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (text + value).split('\n\n');
      text = blocks.pop();
      blocks.forEach((block) => this.#take(block));
      if (this.#isOpen && !this.#poll) this.#expect(SILENCE_MS, 'cut');
    }
  }

  #expect(ms, outcome) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.end(outcome), ms);
  }

  #take(block) {
    const fields = block.split('\n').map((line) => line.split(/: (.*)/s, 2));
    const of = (name) => fields.filter(([field]) => field === name).map(([, text]) => text);
    const data = of('data').join('\n');
    if (data) this.#receive(read(data));
    // The page's place moves on with what is not for it.
    else if (of('id').length) this.#move(of('id')[0]);
  }

  #move(id) {
    const at = id.lastIndexOf(':');
    const place = { epoch: id.slice(0, at), offset: Number(id.slice(at + 1)) };
    this.#handlers.received({ event: 'diffyne.pong', data: place });
  }

  #receive(message) {
    if (!this.#isOpen) {
      this.#isOpen = true;
      this.#handlers.opened();
    }
    if (message.event === 'diffyne.event') this.#isNew = true;
    if (message.event !== 'diffyne.disconnect') {
      this.#handlers.received(message);
      return;
    }
    const { reconnect, retryAfter } = message.data;
    this.#waitMs = retryAfter ?? 0;
    // Until the time has come it goes on; then the next one begins where this one ends.
    if (reconnect === false) this.end('ended');
    else if (this.#poll) this.#outcome = 'told';
    else setTimeout(() => { this.#waitMs = 0; this.end('told'); }, this.#waitMs);
  }
}
