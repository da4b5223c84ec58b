// Files that a user chooses in a field with diff:model: they go to the server by HTTP, as they are, and the property
// gets the identifiers that the server gives them.

import { csrfToken } from './ajax.js';
import { announce, own, queryAll, wrapperOf } from './dom.js';
import { showErrors } from './directives/error.js';
import { modelOf } from './field.js';

const EMPTY = 'The file is empty.';
const underWay = new WeakMap(); // by field: what ends its upload
const held = new WeakSet(); // fields whose property has their files
const watched = new WeakSet(); // hooks

// Uploads what was chosen, and gives the property its identifiers.
export async function takeFiles({ calls, endpoint, hooks }, component, field, property) {
  if (!field.files.length) return;
  clearEmptied(hooks);
  held.delete(field);
  const { id, className } = component;
  const [chosen] = field.files;
  const uploaded = await uploadFiles(field, { endpoint, componentId: id, componentClass: className, property });
  if (!uploaded) return;
  const { identifiers, errors } = uploaded;
  // The list as it is when the update's turn comes. Its answer may have emptied the property already; no other does before.
  const value = () => {
    if (field.files[0] === chosen) held.add(field);
    return withFiles(component.state[property], identifiers, field.multiple);
  };
  if (identifiers.length) await calls.updateLater(component, property, value);
  held[hasFiles(component.state[property]) ? 'add' : 'delete'](field);
  if (errors.length) showErrors(component.root, { [property]: errors });
}

const hasFiles = (value) => Boolean(value) && value.length !== 0;

// A field whose property the server has emptied shows no file any more: a browser tells nothing when the same one is
// chosen once more.
function clearEmptied(hooks) {
  if (watched.has(hooks)) return;
  watched.add(hooks);
  hooks.on('morphed', ({ component: { root, state } }) => {
    for (const field of own(root, 'input').filter((one) => held.has(one) && !hasFiles(state[modelOf(one)?.property]))) {
      held.delete(field);
      field.value = '';
    }
  });
}

// Sends the files of a field, one after another. {identifiers, errors}; null if the user has chosen others meanwhile.
async function uploadFiles(field, { endpoint, componentId, componentClass, property }) {
  underWay.get(field)?.abort();
  const ending = new AbortController();
  underWay.set(field, ending);
  const files = [...field.files];
  const result = { identifiers: [], errors: [] };
  const show = (detail) => tell({ componentClass, componentId, property, ...detail });
  field.setAttribute('aria-busy', 'true');
  for (const [index, file] of files.entries()) {
    const progress = (part) => {
      const percent = Math.round(((index + part) / files.length) * 100);
      showProgress(field, property, percent);
      show({ state: 'progress', file: file.name, percent });
    };
    try {
      result.identifiers.push(await send({ endpoint, file, componentId, property, progress, signal: ending.signal }));
    } catch (error) {
      if (ending.signal.aborted) return null;
      result.errors.push(error.message);
      show({ state: 'failed', file: file.name, message: error.message });
    }
  }
  underWay.delete(field);
  field.removeAttribute('aria-busy');
  showProgress(field, property, null);
  show({ state: 'done', identifiers: result.identifiers });
  return result;
}

// The value of a property that gets files: a field for several, or a property that is a list, adds them.
const withFiles = (value, identifiers, isMultiple) =>
  isMultiple || Array.isArray(value) ? [...(Array.isArray(value) ? value : []), ...identifiers] : identifiers[0];

function send({ endpoint, file, componentId, property, progress, signal }) {
  return new Promise((resolve, reject) => {
    if (!file.size) throw new Error(EMPTY);
    const request = new XMLHttpRequest(); // fetch tells nothing of what it has sent
    request.open('POST', `${endpoint}/upload`);
    request.withCredentials = true;
    request.setRequestHeader('Accept', 'application/json');
    request.setRequestHeader('X-Requested-With', 'XMLHttpRequest');
    request.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0);
    request.onload = () => {
      const answer = parse(request.responseText);
      if (request.status < 300 && answer?.success) resolve(answer.identifier);
      else reject(new Error(answer?.error ?? answer?.message ?? wordsOf(request.status)));
    };
    request.onerror = () => reject(new Error('The file could not be sent.'));
    request.onabort = () => reject(new Error('The upload was ended.'));
    signal.addEventListener('abort', () => request.abort(), { once: true });
    progress(0);
    request.send(form({ file, componentId, property }));
  });
}

function form({ file, componentId, property }) {
  const data = new FormData();
  data.append('componentId', componentId);
  data.append('property', property);
  const token = csrfToken();
  if (token) data.append('_token', token);
  data.append('file', file);
  return data;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const wordsOf = (status) => (status === 413 ? 'The file is too large.' : `The server answered ${status}.`);

// <progress diff:progress="avatar">, or any other element, which then shows the percentage as text. Hidden while there
// is no upload.
function showProgress(field, property, percent) {
  const root = wrapperOf(field);
  const selector = `[diff\\:progress="${CSS.escape(property)}"]`;
  for (const place of root ? own(root, selector) : queryAll(document, selector)) {
    place.hidden = percent === null;
    if (place.localName === 'progress') Object.assign(place, { max: 100, value: percent ?? 0 });
    else place.textContent = percent === null ? '' : `${percent} %`;
  }
}

function tell(detail) {
  announce('diffyne:upload', detail);
}
