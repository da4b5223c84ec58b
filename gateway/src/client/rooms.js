// Rooms: who is here, for scripts of the page. channels.js hands them out as Laravel's presence channels, and `room`:
//
//   import { room } from '/_diffyne/channels.js';
//   room('message-sent', { room_id: 7 }, 'App\\Diffyne\\ChatRoom')
//     .here((users) => show(users)).joining((user) => add(user)).leaving((user) => remove(user));

import { Transport } from './transport.js';

// A room of this page. What its callbacks get of a user is what the application has said others may know.
class Room {
  name = null; // as the server calls it, once the page is in
  /** @type {?string} */
  grant = null; // with it, the page enters again on any gateway
  members = null; // by id: what to know of the user; null: unknown yet
  callbacks = { here: [], joining: [], leaving: [], error: [] };
  whispers = new Map(); // by name: callbacks

  constructor(event) {
    this.event = event;
  }

  call(kind, ...values) {
    for (const callback of this.callbacks[kind]) run(callback, ...values);
  }

  list({ here }) {
    this.members = new Map(here.map(({ id, info }) => [id, info]));
    this.call('here', [...this.members.values()]);
  }

  change({ joins, leaves }) {
    for (const id of leaves) {
      const info = this.members?.get(id);
      if (this.members?.delete(id)) this.call('leaving', info);
    }
    for (const { id, info } of joins) {
      const isNew = !this.members?.has(id);
      this.members?.set(id, info);
      if (isNew) this.call('joining', info);
      // There is something else to know of somebody who is here.
      else if (this.members) this.call('here', [...this.members.values()]);
    }
  }
}

function run(callback, ...values) {
  // One that fails keeps nobody from hearing.
  try { callback(...values); } catch (error) { reportError(error); }
}

class Rooms {
  #rooms = new Map(); // by what the page has asked for, as JSON
  #isDue = false; // a message is about to be sent
  #requests = new Map(); // by request id: the rooms that were asked for

  of(event) {
    const key = JSON.stringify(event);
    const known = this.#rooms.get(key);
    if (known) return known;
    const room = new Room(event);
    this.#rooms.set(key, room);
    this.#plan();
    return room;
  }

  leave(room) {
    if (!this.#rooms.delete(JSON.stringify(room.event))) return;
    if (room.name !== null) Transport.current?.tell('diffyne.leave', { rooms: [room.name] });
    this.#renewStream();
  }

  // The page has a new connection: it is in no room.
  opened() {
    this.#requests.clear();
    for (const room of this.#rooms.values()) room.name = null;
    this.#plan();
  }

  // What a stream of events asks for with its request.
  wish() {
    return { rooms: [...this.#rooms.values()].map(asked) };
  }

  // Without a WebSocket, a stream says so with its request.
  #renewStream() {
    /** @type {any} */ (Transport).fallback?.renew();
  }

  // Calls of one moment are one message.
  #plan() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => { this.#isDue = false; this.#enter(); });
  }

  #enter() {
    const pending = new Set([...this.#requests.values()].flat());
    const rooms = [...this.#rooms.values()].filter((room) => room.name === null && !pending.has(room));
    if (!rooms.length) return;
    this.#renewStream();
    const requestId = `rooms-${Math.random().toString(36).slice(2)}`;
    if (Transport.current?.tell('diffyne.presence', { rooms: rooms.map(asked), requestId })) this.#requests.set(requestId, rooms);
  }

  #named(name) {
    return [...this.#rooms.values()].find((room) => room.name === name);
  }

  // Whether a message was about rooms.
  received(event, data) {
    if (event === 'diffyne.joined') this.#joined(data);
    else if (event === 'diffyne.presence') {
      const room = this.#named(data.room);
      if (data.here) room?.list(data);
      else room?.change(data);
    } else if (event === 'diffyne.whisper') {
      for (const callback of this.#named(data.room)?.whispers.get(data.name) ?? []) run(callback, data.data, data.from);
    } else if (event === 'diffyne.left') this.#left(data);
    else if (event === 'diffyne.error' && String(data.requestId).startsWith('rooms-')) this.#failed(data);
    else return false;
    return true;
  }

  #joined({ rooms, requestId }) {
    for (const { room: name, name: event, match, componentClass, grant } of rooms) {
      const room = this.#rooms.get(JSON.stringify({ name: event, match, componentClass }));
      if (room) {
        room.name = name;
        room.grant = grant ?? room.grant;
      } else {
        // The page has left while it was on its way in.
        Transport.current.tell('diffyne.leave', { rooms: [name] });
      }
    }
    this.#settle(requestId, (room) => room.name === null);
  }

  // Keeps those rooms of a request that are still asked for.
  #settle(requestId, isPending) {
    const left = (this.#requests.get(requestId) ?? []).filter(isPending);
    if (left.length) this.#requests.set(requestId, left);
    else this.#requests.delete(requestId);
  }

  #left({ rooms, reason }) {
    if (!reason) return;
    for (const name of rooms) {
      const room = this.#named(name);
      if (!room) continue;
      room.name = null;
      room.grant = null;
      room.list({ here: [] });
    }
    // For who the user is now, a worker decides anew.
    if (reason === 'the user has changed') this.#plan();
  }

  #failed({ error, requestId, rooms }) {
    console.warn(`diffyne: ${error}`);
    for (const room of this.#requests.get(requestId) ?? []) {
      // Without names, none of them could be entered.
      if (!rooms || rooms.includes(nameOf(room.event))) room.call('error', error);
    }
    this.#settle(requestId, (room) => Boolean(rooms) && !rooms.includes(nameOf(room.event)));
  }
}

const asked = ({ event, grant }) => (grant ? { ...event, grant } : event);

// The name of a room as the server makes it: the fields in the order of their names.
const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
};
const nameOf = ({ name, match }) => name + (match && Object.keys(match).length ? JSON.stringify(sorted(match)) : '');

// A page may load this module twice, by its name and by that of its content.
const rooms = (Transport.rooms ??= new Rooms());

// Enters a room: of an event, with the fields that make it and the class that decides, or of a presence channel. Adds to
// `opened` what a script can do there.
export function enter(event, opened) {
  const room = rooms.of(event);
  const on = (kind) => (callback) => {
    room.callbacks[kind].push(callback);
    return opened;
  };
  const { leave } = opened;
  return Object.assign(opened, {
    here: (callback) => {
      if (room.members) run(callback, [...room.members.values()]);
      return on('here')(callback);
    },
    joining: on('joining'),
    leaving: on('leaving'),
    error: on('error'),
    whisper: (name, data) => {
      if (room.name !== null) Transport.current?.tell('diffyne.whisper', { room: room.name, name, data });
      return opened;
    },
    listenForWhisper: (name, callback) => {
      room.whispers.set(name, [...(room.whispers.get(name) ?? []), callback]);
      return opened;
    },
    // Without a callback, all of the name.
    stopListeningForWhisper: (name, callback) => {
      room.whispers.set(name, (room.whispers.get(name) ?? []).filter((other) => callback && other !== callback));
      return opened;
    },
    leave: () => {
      leave?.();
      rooms.leave(room);
    },
  });
}

// An event's room.
export const room = (name, match, componentClass) => enter({ name, match, componentClass }, {});
