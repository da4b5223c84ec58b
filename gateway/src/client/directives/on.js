// diff:on.channel:orders:order.paid calls a method when Laravel broadcasts that: the page subscribes to it. Other events
// are subscribed to by the components that listen to them.

import { hold } from '../channels.js';

const CHANNEL = /^(?:channel|private|presence):/;

export const on = () => ({ attribute }) => {
  const name = attribute.slice('diff:on.'.length);
  return CHANNEL.test(name) ? hold(name) : undefined;
};
