// How calls reach the server and pushes the page: over a WebSocket, and by AJAX as long as there is none. Pushes then come
// as fallback.js can get them.
//
// A call that was sent is never sent again: when its connection breaks it is rejected at once, because nobody knows
// whether it ran. One that still waited for the connection goes by AJAX.

import { announce, documentElement } from './dom.js';
import { Socket } from './socket.js';
import { kept, print } from './numbers.js';
import { isFollowed, press, stored } from './page.js';
import { Release } from './release.js';
import { signed } from './signature.js';

const ANSWER_MS = 30_000;
const SEEN_MAX = 500;
const ACCEPTS = ['streams', 'push', 'parts']; // what these scripts can do beyond patches

// Why a call did not succeed: `type` as on the wire, `details` the whole answer.
export class CallError extends Error {
  constructor(message, type, details = {}) {
    super(message);
    this.type = type;
    this.details = details;
  }
}

export class Transport {
  static current = null; // the page's
  /** @type {any} */
  static channels = null; // what channels.js keeps
  /** @type {any} */
  static rooms = null; // what rooms.js keeps
  #endpoint;
  #maxMessageSize;
  #handlers;
  #socket = null;
  #state = null;
  clientId = null;
  #calls = new Map(); // by request id: {resolve, reject, late, timer, release, parts: what shows them, if some have come}
  #requests = 0;
  #seen = new Set(); // ids of broadcasts
  #wanted = new Map(); // subscriptions by their JSON
  #position = null; // {epoch, offset}: where in the stream of broadcasts this page is
  #release = new Release(() => this.#calls.size + this.#awaited.size > 0);
  #awaited = new Map(); // by component id: how many values are to come
  #missing; // until the page is fetched again
  #fallback = null; // once the WebSocket has failed
  /** @type {?(events: any[]) => void} */
  heard = null; // what channels.js hears by
  #grant = null; // {text, wanted}: what shows any gateway that this page may hear that, where it is asked for

  // options: url (none: AJAX only), endpoint, maxMessageSize (of a server that does not tell its own)
  // handlers: pushed(events, cause), missed(), valued(push)
  constructor({ url, endpoint, maxMessageSize = 1_048_576 }, handlers) {
    this.#endpoint = endpoint;
    this.#maxMessageSize = maxMessageSize;
    this.#handlers = handlers;
    Transport.current = this;
    // Now, while the server is there: a module that could not be loaded once is not tried again.
    import('./ajax.js').catch(console.warn);
    if (url) {
      const fallen = stored('diffyne:transport'); // on the page before this one
      this.#socket = new Socket(url, {
        opened: () => { this.#fallback?.stop(); this.show('open'); this.#subscribe(); Transport.rooms?.opened(); },
        received: (message) => this.receive(message),
        broken: () => { this.show('closed'); this.#breakCalls(); this.#giveUpValues(); },
        isBusy: () => this.#calls.size + this.#awaited.size > 0,
        failed: (wasOpen) => this.#fallBack(url, wasOpen),
      }, fallen);
      if (fallen) this.#fallBack(url, true);
    }
    this.show(url ? 'connecting' : 'ajax');
  }

  get isOpen() {
    return this.#socket?.isOpen ?? false;
  }

  // kind: call, update or mount; original: the component's state as the server has sent it. The answer, or a CallError.
  // Numbers of the state and the parameters go back as they came; `exact` says so. `moves`: children of a reorder are
  // counted as in paths. What is over the socket's limit goes by AJAX.
  /**
   * @param {'call' | 'update' | 'mount'} kind
   * @param {any} message
   * @param {{ajax?: boolean, original?: object}} options
   */
  async send(kind, message, { ajax = false, original } = {}) {
    const release = this.#release.of(message.componentId);
    const data = { accepts: ACCEPTS, ...message, ...signed(message, original), exact: true, moves: true, release };
    const state = kept(original);
    const node = new Map([['state', state], ['base', state], ['params', kept(message.params)], ['value', kept(message.value)]]);
    const requestId = `req-${++this.#requests}`;
    if (!ajax && this.#socket) {
      await this.#socket.soon();
      const text = print({ event: `diffyne.${kind}`, data: { ...data, requestId } }, new Map([['data', node]]));
      const fits = new Blob([text]).size <= this.#maxMessageSize;
      if (fits && this.#socket.isOpen) return this.#bySocket(requestId, text, release);
    }
    return this.#byAjax(kind, print(data, node), release);
  }

  // The broadcasts that the page's components listen to: [{name, componentClass}].
  listen(events) {
    const wanted = new Map(events.map((event) => [JSON.stringify(event), event]));
    const missing = (from, other) => [...from].filter(([key]) => !other.has(key)).map(([, event]) => event);
    const [added, removed] = [missing(wanted, this.#wanted), missing(this.#wanted, wanted)];
    this.#wanted = wanted;
    if (!this.isOpen) {
      this.#fallback?.renew();
      return;
    }
    // Another component may want the same event still.
    const names = new Set(events.map(({ name }) => name));
    const gone = removed.filter(({ name }) => !names.has(name));
    if (gone.length) this.tell('diffyne.unsubscribe', { events: gone });
    if (added.length) this.tell('diffyne.subscribe', { events: added });
  }

  // Whether a broadcast is new to this page.
  isNew(id) {
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > SEEN_MAX) this.#seen.delete(this.#seen.values().next().value);
    return true;
  }

  show(state) {
    if (state === this.#state) return;
    this.#state = state;
    documentElement().dataset.diffyneConnection = state;
    announce('diffyne:connection', { state });
  }

  // Whether it was sent.
  tell(event, data) {
    if (this.isOpen) this.#socket.send(JSON.stringify({ event, data }));
    return this.isOpen;
  }

  #subscribe() {
    const wish = this.wish();
    if (!this.isOpen) this.#fallback?.renew(true);
    else if (wish) this.tell(this.#position ? 'diffyne.resume' : 'diffyne.subscribe', wish);
  }

  // What the page wants to hear, and from where on.
  wish() {
    const events = [...this.#wanted.values()];
    if (!events.length) this.#position = null;
    return events.length ? { ...this.#position, events, ...(this.#position && this.#shown()) } : null;
  }

  async #fallBack(url, wasOpen) {
    const module = await import('./fallback.js').catch(() => null);
    this.#fallback ??= module && new module.Fallback(url, this.#endpoint, this.#socket, this);
    if (!this.#fallback) this.#socket.again();
    else if (!this.isOpen) this.#fallback.start(wasOpen);
  }

  // The grant, if it covers what the page wants now; without it a worker is asked anew.
  #shown() {
    const grant = this.#grant;
    return grant && [...this.#wanted.keys()].every((key) => grant.wanted.has(key)) ? { grant: grant.text } : {};
  }

  #keepGrant({ grant, events }) {
    if (!grant) return;
    this.#grant = { text: grant, wanted: new Set(events?.map((event) => JSON.stringify(event)) ?? this.#wanted.keys()) };
  }

  // An error that is of no call: mostly the page's subscriptions were refused. With an old grant they are asked for anew,
  // once, and where nobody has decided about them.
  #refused(data) {
    const shown = this.#grant;
    if (data.type === 'grant_expired' || data.type === 'subscribe_error') this.#grant = null;
    if (shown && data.type === 'grant_expired') this.#subscribe();
    else import('./refusal.js').then(({ refused }) => refused(data, () => this.#subscribe())).catch(console.warn);
  }

  receive({ event, data }) {
    if (Transport.rooms?.received(event, data)) return;
    if (event === 'diffyne.response' || (event === 'diffyne.error' && data.requestId)) this.#settle(data);
    else if (event === 'diffyne.connected') this.#greet(data);
    else if (event === 'diffyne.event') this.#push(data);
    else if (event === 'diffyne.subscribed') {
      this.#position ??= this.#place(data);
      this.#keepGrant(data);
    }
    else if (event === 'diffyne.push') this.#value(data);
    else if (event === 'diffyne.part') this.#part(data);
    else if (event === 'diffyne.pong') this.#moveOn(data);
    else if (event === 'diffyne.disconnect') this.#socket.obey(data);
    else if (event === 'diffyne.resumed' || event === 'diffyne.gap') {
      this.#position = this.#place(data);
      this.#keepGrant(data);
      if (event === 'diffyne.gap' || !data.recovered) this.#miss(data);
    } else if (event === 'error' || event === 'diffyne.error') this.#refused(data);
  }

  // Thousands of pages may have missed the same; they are not all fetched in the same moment.
  #miss({ spread = 0 }) {
    clearTimeout(this.#missing);
    this.#missing = setTimeout(() => this.#handlers.missed(), Math.random() * spread);
  }

  #greet({ clientId, maxMessageSize, release }) {
    this.clientId = clientId;
    this.#release.greeted(release);
    // Other servers do not tell theirs.
    if (maxMessageSize) this.#maxMessageSize = maxMessageSize;
  }

  #place({ epoch, offset }) {
    return epoch === undefined ? null : { epoch, offset };
  }

  /** @param {{epoch?: string, offset?: number}} position */
  #moveOn({ epoch, offset }) {
    if (this.#position && offset > this.#position.offset && (epoch ?? this.#position.epoch) === this.#position.epoch) {
      this.#position.offset = offset;
    }
  }

  #push({ events, id, offset, depth, spread = 0 }) {
    this.#moveOn({ offset });
    if (!this.isNew(id)) return;
    this.heard?.(events);
    const cause = { id, depth };
    // Thousands of pages hear this now; they do not all answer in the same moment.
    if (spread) setTimeout(() => this.#handlers.pushed(events, cause), Math.random() * spread);
    else this.#handlers.pushed(events, cause);
  }

  #bySocket(requestId, text, release) {
    return new Promise((resolve, reject) => {
      const late = () => { this.#take(requestId); reject(tooLate()); };
      this.#calls.set(requestId, { resolve, reject, late, timer: setTimeout(late, ANSWER_MS), release });
      this.#socket.send(text);
    });
  }

  // A part of an answer, which gives its call more time.
  #part(data) {
    const { requestId } = data;
    const call = this.#calls.get(requestId);
    if (!call) return;
    clearTimeout(call.timer);
    call.timer = setTimeout(call.late, ANSWER_MS);
    call.parts ??= import('./parts.js').catch(console.warn);
    call.parts.then((parts) => { if (this.#calls.has(requestId)) parts?.showPart(requestId, data); });
  }

  // Takes a call that has ended; `cleared` when its answer may be applied: nothing is pressed, or shows its parts.
  #take(requestId) {
    const call = this.#calls.get(requestId);
    this.#calls.delete(requestId);
    clearTimeout(call?.timer);
    if (call) call.cleared = Promise.all([call.parts, press]).then(([parts]) => parts?.endParts(requestId));
    return call;
  }

  async #settle(data) {
    const call = this.#take(data.requestId);
    if (!call) return;
    this.#release.answered(call.release, data.release);
    const id = data.c?.i ?? data.id;
    if (data.async) this.#awaited.set(id, (this.#awaited.get(id) ?? 0) + data.async);
    if (data.session) await import('./session.js').then(({ takeCookies }) => takeCookies(data.session)).catch(console.warn);
    await call.cleared;
    if (leadsAstray(data)) call.reject(await failure(data));
    else if (data.s || data.success) call.resolve(data);
    else call.reject(new CallError(data.error, data.type, data));
  }

  // A value that comes after the answer of its call.
  #value(data) {
    const left = (this.#awaited.get(data.componentId) ?? 1) - 1;
    if (left > 0 && !data.lost) this.#awaited.set(data.componentId, left);
    else this.#awaited.delete(data.componentId);
    this.#handlers.valued(data);
  }

  #giveUpValues() {
    for (const componentId of this.#awaited.keys()) this.#value({ componentId, lost: true });
  }

  #breakCalls() {
    for (const requestId of this.#calls.keys()) {
      this.#take(requestId).reject(new CallError('The connection broke. The call may or may not have run.', 'connection_lost'));
    }
  }

  async #byAjax(kind, text, release) {
    const url = `${this.#endpoint}/${kind === 'mount' ? 'lazy' : 'update'}`;
    const sent = import('./ajax.js').then(({ post }) => post(url, text, this.clientId, ANSWER_MS));
    const { answer, status, isLate } = /** @type {any} */ (await sent.catch(() => ({})));
    await press;
    if (!status) throw isLate ? tooLate() : new CallError('The server cannot be reached.', 'network_error');
    this.#release.answered(release, answer?.release);
    if (answer && (answer.s || answer.success) && !leadsAstray(answer)) return answer;
    throw await failure(answer, status);
  }
}

const tooLate = () => new CallError('No answer in time. The call may or may not have run.', 'timeout');

// Whoever gets the answer follows its redirect: diffyne.js does so without a look.
const leadsAstray = (answer) => Boolean(answer?.redirect) && !isFollowed(answer.redirect.url);

// What is wrong with an answer.
async function failure(answer, status) {
  const { message, type, details } = await import('./refusal.js').then(({ failureOf }) => failureOf(answer, status), () => ({ type: 'server_error' }));
  return new CallError(message, type, details);
}
