// What diffyne.js leaves to the companion: patches, fields, and where a component ends. Its own services read fields in
// one way for all kinds, rewrite what somebody is typing, and reach into components within a component.

import { attribute, closest, nodeType, own, parentNode, wrapperOf } from './dom.js';
import { isField, propertyOf, show } from './field.js';
import { applyPatches } from './patches.js';

const idOf = (wrapper) => (wrapper ? attribute(wrapper, 'diff:id') : null);

/**
 * Replaces how diffyne.js applies patches and shows the state. `running(id)` is the job of a component whose answer is
 * being applied: its `fields` are held, and it gets the `faults`. `meet(root)`: the fields of a new component show its
 * state.
 */
export function takePatches({ patchApplier, modelSync }, { running, meet }) {
  if (patchApplier) {
    patchApplier.applyPatches = (root, patches) => {
      const wrapper = parentNode(root);
      const job = running(idOf(wrapperOf(root))) ?? {};
      job.faults = applyPatches(wrapper, patches, job.fields?.isKept);
      for (const { message } of job.faults) console.error(`diffyne: ${attribute(wrapper, 'diff:class')}: ${message}`);
    };
  }
  // The fields of an answer are released when all of it is in place.
  modelSync.sync = (root) => { if (!running(idOf(root))?.fields) meet(root); };
  modelSync.syncInput = (field, value) => {
    if (!running(idOf(wrapperOf(field)))?.fields && isField(field)) show(field, value);
  };
}

/** Keeps errors and loading states of a component out of the components within it. */
export function keepWithin({ errorService, loadingService }) {
  const within = (root) => ({ querySelectorAll: (selector) => own(root, selector), querySelector: (selector) => own(root, selector)[0] ?? null });
  for (const name of ['display', 'clear']) {
    const old = errorService?.[name];
    if (old) errorService[name] = (root, ...more) => old.call(errorService, root instanceof Node ? within(root) : root, ...more);
  }
  const find = loadingService?.findLoadingElements;
  if (find) loadingService.findLoadingElements = (root) => find.call(loadingService, root).filter((element) => wrapperOf(element) === root);
}

/** Whether an action belongs to a component within the one that diffyne.js names. */
export function isActionWithin(id, event) {
  const target = event?.target;
  if (!(target instanceof Node) || nodeType(target) !== 1) return false;
  const place = closest(target, `[diff\\:${CSS.escape(event.type)}]`);
  return Boolean(place) && idOf(wrapperOf(place)) !== id;
}

/** Whether what is told of a property is what somebody does in a field of a component within the one that is named. */
export function isFieldWithin(id, property) {
  const target = /** @type {any} */ (window.event?.target);
  if (!(target instanceof Node) || !isField(target) || propertyOf(target) !== property) return false;
  return idOf(wrapperOf(target)) !== id;
}
