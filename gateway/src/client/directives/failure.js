// diff:error without a field shows why a call has failed, in its component, or anywhere on the page.

import { own, queryAll, wrapperOf } from '../dom.js';
import { showText } from './error.js';

const GENERAL = '[diff\\:error=""]';

/** @type {(client: any) => () => void} */
export function error({ failed, hooks }) {
  const show = (root, text) => { for (const place of generalPlaces(root)) showText(place, text); };
  hooks.on('failed', ({ component, message }) => show(component.root, message));
  hooks.on('morphed', ({ component }) => show(component.root, ''));
  // A call may fail before this is loaded.
  if (failed) show(failed.component.root, failed.message);
  return () => {};
}

// Those of the component, if it has any, else those of the page.
function generalPlaces(root) {
  const places = own(root, GENERAL);
  return places.length ? places : queryAll(document, GENERAL).filter((place) => !wrapperOf(place));
}
