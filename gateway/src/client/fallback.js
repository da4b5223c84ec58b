// What a page hears while it has no WebSocket: server-sent events, and where these do not arrive, polls. Calls go by AJAX
// meanwhile. The WebSocket is tried in the background, and taken again once it lasts.
//
// Nothing is lost or doubled on the way from one to the other: each begins at the place where the page is.

import { Backoff } from './backoff.js';
import { EventStream } from './event-stream.js';
import { stored } from './page.js';
import { explainRefusal } from './refusal.js';

const POLL_S = 25; // how long the server waits for news
const QUICK_POLL_S = 1; // to find out whether polls are answered
const TRIES = 4; // of what has worked, before everything is tried again
const SHORT_MS = 5_000; // a stream that ends sooner is no good one
const SHORT_MAX = 3; // of them, one after the other
const TRIAL_MS = 3_000; // a WebSocket that lives this long is taken
const LASTING_MS = 30_000; // and one that lives this long is remembered
const BETTER_FIRST_MS = 5_000; // until the better one is tried again; doubles
const BETTER_LAST_MS = 600_000;
const STREAM_MS = 60_000; // until polls give way to a stream once more; doubles
const HIDDEN_MS = 10_000; // a tab that nobody sees gives its connection back: browsers have six to a server
const RENEW_MS = 50; // components come one after the other
const STEP_MS = 1_000; // between polls that brought nothing new
const STORE = 'diffyne:transport'; // what this tab has had to use

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export class Fallback {
  #url;
  #events;
  #key;
  #socket;
  #page;
  #mode = stored(STORE) === 'poll' ? 'poll' : 'sse';
  #run = null; // {over}: of the loop that hears
  #stream = null;
  #wished; // what it has asked for
  #isRefused = false; // this server has no events for us
  #clientId = null;
  #isExplained = false;
  #works = false;
  #betterMs = BETTER_FIRST_MS;
  #streamAt = 0; // when polls are to give way to a stream
  #streamMs = STREAM_MS;
  #timers = {};
  #probing = null;

  // page: wish(): what it wants to hear, and from where; receive(message); show(state)
  constructor(url, endpoint, socket, page) {
    this.#url = url;
    this.#events = `${endpoint}/events`;
    // Not in the address, which proxies write into their logs.
    this.#key = new URL(url).searchParams.get('key') ?? undefined;
    this.#socket = socket;
    this.#page = page;
    page.constructor.fallback = this; // for rooms.js
    window.addEventListener('online', () => this.#hurry());
    document.addEventListener('visibilitychange', () => this.#look());
  }

  // The WebSocket does not work: it did not open, or has not lasted.
  start(wasOpen) {
    clearTimeout(this.#timers.lasting);
    if (!wasOpen) this.#explain();
    if (this.#isRefused) this.#socket.again();
    else if (!this.#run) {
      this.#run = { over: false };
      this.#hear(this.#run);
    } else if (this.#works) this.#rest();
  }

  // The page's author is told why there is no connection, once.
  async #explain() {
    if (this.#isExplained) return;
    this.#isExplained = true;
    this.#isExplained = await explainRefusal(this.#url);
  }

  // It works.
  stop() {
    this.#end();
    this.#timers.lasting = setTimeout(() => {
      this.#betterMs = BETTER_FIRST_MS;
      stored(STORE, '');
    }, LASTING_MS);
  }

  // The page may want to hear something else; `anew`: what it has asked for was refused.
  renew(anew = false) {
    clearTimeout(this.#timers.renew);
    this.#timers.renew = setTimeout(() => {
      if (anew || this.#asked() !== this.#wished) this.#stream?.end('renewed');
    }, RENEW_MS);
  }

  #end() {
    if (this.#run) this.#run.over = true;
    this.#run = null;
    this.#works = false;
    clearTimeout(this.#timers.better);
    this.#dropProbe();
    this.#stream?.end('over');
  }

  // Nothing works: the WebSocket is tried with growing pauses, and this again behind each try.
  #giveUp() {
    this.#end();
    this.#page.show('closed');
    this.#socket.again();
  }

  async #hear(run) {
    const tries = { backoff: new Backoff(), failures: 0, short: 0 };
    while (!run.over) {
      await this.#seen();
      if (run.over) return;
      const begun = Date.now();
      const ended = await this.#once();
      if (!run.over) await this.#goOn(ended, Date.now() - begun, tries);
    }
  }

  // What the end of a response leads to.
  async #goOn({ outcome, waitMs, isNew }, livedMs, tries) {
    if (outcome === 'told') await pause(waitMs);
    else if (outcome === 'answered') await this.#answered(isNew, livedMs, tries);
    else if (outcome === 'cut') await this.#cut(livedMs, tries);
    else if (outcome === 'failed') await this.#failed(waitMs, tries);
    else if (outcome === 'held' && this.#mode === 'poll') await this.#failed(0, tries);
    else if (outcome === 'held') this.#mode = 'poll';
    else if (outcome === 'ended') {
      this.#end();
      this.#page.show('closed');
    }
    else if (outcome === 'refused') {
      this.#isRefused = true;
      this.#giveUp();
    }
  }

  async #answered(isNew, livedMs, tries) {
    tries.failures = 0;
    if (isNew || livedMs >= STEP_MS) tries.backoff.reset();
    // A server that answers at once each time has nothing for this page, or refuses what it wants.
    if (!isNew) await pause(Math.max(STEP_MS, livedMs < STEP_MS ? tries.backoff.next() : 0));
    this.#tryStream();
  }

  async #cut(livedMs, tries) {
    tries.failures = 0;
    tries.short = livedMs < SHORT_MS ? tries.short + 1 : 0;
    if (tries.short === 0) tries.backoff.reset();
    if (tries.short >= SHORT_MAX) this.#mode = 'poll';
    this.#page.show('closed');
    await pause(tries.backoff.next());
  }

  async #failed(waitMs, tries) {
    tries.failures += 1;
    if (tries.failures >= (this.#works ? TRIES : 1)) {
      this.#giveUp();
      return;
    }
    this.#page.show('closed');
    await pause(Math.max(waitMs, tries.backoff.next()));
  }

  // One response of the server, to its end.
  async #once() {
    const isPoll = this.#mode === 'poll';
    const seconds = this.#works ? POLL_S : QUICK_POLL_S;
    const poll = isPoll ? { seconds, clientId: this.#clientId } : null;
    const stream = new EventStream(this.#events, poll, {
      opened: () => this.#opened(),
      received: (message) => this.#receive(message),
    });
    this.#stream = stream;
    // A poll is over too soon to be in a room.
    const wish = isPoll ? this.#page.wish() : this.#wish();
    this.#wished = this.#asked();
    const ended = await stream.run({ ...wish, key: this.#key });
    this.#stream = null;
    return ended;
  }

  // What the page wants to hear, and where it wants to be.
  #wish() {
    return { ...this.#page.wish(), ...this.#page.constructor.rooms?.wish() };
  }

  #asked() {
    const { events, rooms } = this.#wish();
    return JSON.stringify([events, rooms?.map(({ name, match }) => [name, match])]);
  }

  #receive(message) {
    // Polls go under one name, so that the page does not hear of what it has caused itself.
    if (message.event === 'diffyne.connected') this.#clientId = message.data.clientId;
    this.#page.receive(message);
  }

  #opened() {
    if (this.#works) this.#page.show(this.#mode);
    else this.#rest();
    this.#works = true;
    stored(STORE, this.#mode);
  }

  // ---- the better one ----

  // While events come, the WebSocket need not be tried all the time.
  #rest() {
    this.#socket.rest();
    this.#page.show(this.#mode);
    this.#plan();
  }

  #plan() {
    clearTimeout(this.#timers.better);
    this.#timers.better = setTimeout(() => this.#probe(), this.#betterMs * (0.5 + Math.random()));
    this.#betterMs = Math.min(this.#betterMs * 2, BETTER_LAST_MS);
  }

  // A WebSocket beside what is heard. Proxies may open one and end it after a moment.
  #probe() {
    if (this.#probing || !this.#works) return;
    const ws = new WebSocket(this.#url);
    this.#probing = ws;
    // The server's greeting.
    ws.onmessage = () => {
      this.#timers.trial ??= setTimeout(() => {
        this.#dropProbe();
        this.#socket.again();
      }, TRIAL_MS);
    };
    ws.onclose = () => {
      this.#dropProbe();
      this.#plan();
    };
  }

  #dropProbe() {
    const ws = this.#probing;
    this.#probing = null;
    clearTimeout(this.#timers.trial);
    this.#timers.trial = null;
    if (!ws) return;
    ws.onmessage = ws.onclose = null;
    ws.close();
  }

  // The network is another one, maybe.
  #hurry() {
    if (!this.#works) return;
    this.#betterMs = BETTER_FIRST_MS;
    this.#streamAt = 1;
    this.#probe();
  }

  #tryStream() {
    if (this.#streamAt === 0) this.#streamAt = Date.now() + this.#streamMs;
    if (Date.now() < this.#streamAt) return;
    this.#streamMs = Math.min(this.#streamMs * 2, BETTER_LAST_MS);
    this.#streamAt = Date.now() + this.#streamMs;
    this.#mode = 'sse';
  }

  // ---- tabs that nobody sees ----

  #look() {
    clearTimeout(this.#timers.hidden);
    if (document.hidden) this.#timers.hidden = setTimeout(() => document.hidden && this.#stream?.end('renewed'), HIDDEN_MS);
  }

  async #seen() {
    while (document.hidden) {
      await new Promise((resolve) => { document.addEventListener('visibilitychange', resolve, { once: true }); });
    }
  }
}
