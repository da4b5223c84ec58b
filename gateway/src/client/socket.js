// A WebSocket that comes back: opened at once, tried again with backoff when it fails, pinged when it is silent.
//
// It is open once the server has greeted the page: what the greeting says, as the largest message, holds for the first one.

import { Backoff } from './backoff.js';
import { read } from './numbers.js';

const SOON_MS = 2_000; // calls wait this long for a first connection
const OPEN_MS = 10_000; // a handshake and the greeting may take this long
const SILENCE_MS = 25_000; // then the server is asked whether it is there
const ANSWER_MS = 10_000; // and may take this long to say so
const LOOK_MS = 5_000; // between looks at the silence
const LEAVE_STEP_MS = 50; // between looks whether the last answer has come
const HEALTHY_MS = 30_000; // a connection that lived this long was a good one

export class Socket {
  #url;
  #handlers;
  #backoff = new Backoff();
  #ws = null;
  #timers = new Set();
  #heardAt = 0;
  #pinged = false;
  #soon = null;
  #over = false;
  #comeBackAt = null; // as the server has said
  #leaving = false; // on its way to another connection
  #hasOpened = false;
  #failures = 0; // since one has lasted

  // handlers: opened(), received(message), broken(), isBusy(): whether answers are to come, failed(wasOpen): it
  // does not open, or again and again does not last
  constructor(url, handlers, rests) {
    this.#url = url;
    this.#handlers = handlers;
    window.addEventListener('online', () => this.#hurry());
    document.addEventListener('visibilitychange', () => document.hidden || this.#hurry());
    setInterval(() => this.#look(), LOOK_MS);
    this.#expect();
    if (rests) this.rest();
    else this.#connect();
  }

  // Events come another way: it is not tried until it is told to.
  rest() {
    this.#over = true;
    this.#broken(this.#ws);
  }

  again() {
    if (this.#over) this.#connect();
    this.#over = false;
  }

  get isOpen() {
    return this.#heardAt > 0 && this.#ws?.readyState === WebSocket.OPEN && !this.#leaving;
  }

  // Settles when the socket is open, has failed, or keeps a call waiting too long.
  async soon() {
    if (!this.isOpen) await this.#soon?.promise;
  }

  send(text) {
    this.#ws.send(text);
  }

  // The server ends the connection: reconnect when it says so, or not at all. When the time has come, calls that are under way
  // are answered, new ones wait for the next connection; the server closes this one at last.
  obey({ reconnect, retryAfter }) {
    this.#over = reconnect === false;
    this.#comeBackAt = Date.now() + (retryAfter ?? 0);
    if (!this.#over) this.#after(retryAfter ?? 0, () => this.#leave(this.#ws));
  }

  #leave(ws) {
    if (!ws || ws !== this.#ws) return;
    if (!this.#leaving) this.#expect();
    this.#leaving = true;
    if (this.#handlers.isBusy()) this.#after(LEAVE_STEP_MS, () => this.#leave(ws));
    else this.#broken(ws);
  }

  #expect() {
    let done;
    const promise = new Promise((resolve) => { done = resolve; });
    this.#soon = { promise, done };
    setTimeout(done, SOON_MS);
  }

  #after(ms, work) {
    const timer = setTimeout(() => { this.#timers.delete(timer); work(); }, ms);
    this.#timers.add(timer);
  }

  #clearTimers() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #connect() {
    this.#clearTimers();
    let ws;
    try {
      ws = new WebSocket(this.#url);
    } catch (error) {
      console.error(error); // it names the address
      this.#over = true;
      this.#soon.done();
      this.#handlers.broken();
      return;
    }
    this.#ws = ws;
    ws.onmessage = ({ data }) => {
      const isGreeting = !this.#heardAt;
      this.#heard();
      if (isGreeting) this.#greeted();
      this.#handlers.received(read(data));
    };
    ws.onclose = () => this.#broken(ws);
    this.#after(OPEN_MS, () => this.#broken(ws));
  }

  #greeted() {
    this.#clearTimers();
    this.#hasOpened = true;
    this.#after(HEALTHY_MS, () => { this.#failures = 0; this.#backoff.reset(); });
    this.#handlers.opened();
    this.#soon.done();
  }

  #heard() {
    this.#heardAt = Date.now();
    this.#pinged = false;
  }

  // Also for a connection that hangs: its own end would come minutes later.
  #broken(ws) {
    if (ws !== this.#ws) return;
    const wasOpen = this.#heardAt > 0;
    if (ws) ws.onmessage = ws.onclose = null;
    ws?.close();
    this.#ws = null;
    this.#heardAt = 0;
    this.#clearTimers();
    // Whoever waits for the next connection goes on waiting for it.
    if (this.#leaving) this.#leaving = false;
    else this.#soon.done();
    this.#handlers.broken();
    if (this.#over) return;
    const told = this.#comeBackAt === null ? null : Math.max(0, this.#comeBackAt - Date.now());
    this.#after(told ?? this.#backoff.next(), () => this.#connect());
    this.#comeBackAt = null;
    if (told === null && (this.#failures += this.#hasOpened ? 1 : 2) > 1) this.#handlers.failed(wasOpen);
  }

  #look() {
    if (!this.isOpen) return;
    const silence = Date.now() - this.#heardAt;
    if (silence > SILENCE_MS + ANSWER_MS && this.#pinged) this.#broken(this.#ws);
    else if (silence > SILENCE_MS && !this.#pinged) this.#ping();
  }

  #ping() {
    this.#pinged = true;
    this.send('{"event":"diffyne.ping","data":{}}');
  }

  // The network is back, or somebody looks at the page: no need to wait.
  #hurry() {
    if (this.#over) return;
    if (!this.#ws) this.#connect();
    else if (this.isOpen && Date.now() - this.#heardAt > LOOK_MS) {
      this.#ping();
      this.#after(ANSWER_MS, () => this.#pinged && this.#ws && this.#broken(this.#ws));
    }
  }
}
