// What a directive says is to be called, with parameters: `method`, or `method(1, 'x', [2], {a: true}, $event.key)`.

import { read } from './numbers.js';

// Strings, words with what may follow them, and signs of lists and objects.
const TOKEN = /\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([{}[\](),:])|([^\s,:'"{}[\]()]+))\s*/gsy;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const ESCAPES = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', 0: '\0', '\n': '' };

/** @param {Event} [event] */
export function parseAction(text, event) {
  const [, method, list = ''] = text.match(/^\s*([\w$]+)\s*(?:\((.*)\)\s*;?\s*)?$/s) ?? [];
  try {
    if (method) return { method, params: read(`[${jsonOf(list.trim(), event)}]`) };
  } catch {
    // It is told like everything that is no action.
  }
  console.warn(`diffyne: ${text} is no action`);
  return null;
}

// The same in JSON, so that numbers and the order of keys are kept as they are of every other text.
function jsonOf(list, event) {
  const tokens = [...list.matchAll(TOKEN)];
  if (tokens.map(([whole]) => whole).join('').length !== list.length) throw new SyntaxError(list);
  const isSign = (token, sign) => token?.[3] === sign;
  const json = [];
  for (let at = 0; at < tokens.length; at += 1) {
    const [, single, double, sign, word] = tokens[at];
    const text = single ?? double;
    if (word === 'JSON.parse' && isSign(tokens[at + 1], '(')) {
      // As Laravel's @js writes a list or an object.
      const inner = unescaped(tokens[at + 2][1] ?? tokens[at + 2][2]);
      JSON.parse(inner);
      json.push(inner);
      at += 3;
    } else if (text !== undefined) json.push(JSON.stringify(unescaped(text)));
    else if (sign === ',' && (at === tokens.length - 1 || /[\]}]/.test(tokens[at + 1][3]))) continue;
    else if (sign) json.push(sign);
    else json.push(isSign(tokens[at + 1], ':') ? JSON.stringify(word) : jsonOfWord(word, event));
  }
  return json.join(' ');
}

function jsonOfWord(word, event) {
  if (NUMBER.test(word) || ['true', 'false', 'null'].includes(word)) return word;
  if (word === 'undefined') return 'null';
  if (!/^\$event(\.|$)/.test(word)) return JSON.stringify(word);
  const value = word.split('.').slice(1).reduce((inner, name) => inner?.[name], event ?? null);
  return JSON.stringify(value instanceof Event ? null : value) ?? 'null';
}

const unescaped = (text) =>
  text.replace(/\\(?:u\{([\da-f]+)\}|u([\da-f]{4})|x([\da-f]{2})|(.))/gis, (_, point, unit, byte, letter) =>
    letter === undefined ? String.fromCodePoint(Number.parseInt(point ?? unit ?? byte, 16)) : ESCAPES[letter] ?? letter);
