// Parts of an answer that come while its call still runs: text in the component's elements with diff:stream. When the
// answer is there, what the elements showed before is put back, and the answer's patches are applied to that.

import { childNodes, own, parentNode, queryAll } from './dom.js';

const shown = new Map(); // by call, then by element: {before: its nodes, text: the node with the parts}

export function showPart(call, { componentId, to, content, replace = false }) {
  const places = shown.get(call) ?? new Map();
  shown.set(call, places);
  for (const root of queryAll(document, `[diff\\:id="${CSS.escape(componentId)}"]`)) {
    for (const element of own(root, `[diff\\:stream="${CSS.escape(to)}"]`)) show(places, element, content, replace);
  }
}

function show(places, element, content, replace) {
  let place = places.get(element);
  // Another answer may have changed the element meanwhile.
  if (!place || parentNode(place.text) !== element) {
    place = { before: [...childNodes(element)], text: document.createTextNode('') };
    places.set(element, place);
    element.append(place.text);
  }
  if (replace) element.replaceChildren(place.text);
  place.text.data = replace ? content : place.text.data + content;
}

export function endParts(call) {
  for (const [element, { before, text }] of shown.get(call) ?? []) {
    if (parentNode(text) === element) element.replaceChildren(...before);
  }
  shown.delete(call);
}
