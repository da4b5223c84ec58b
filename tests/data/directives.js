// The rows of tests/tests/directives.rs: each shows a component of its own on the page, uses it, and waits for what has
// to come of it. `run` gets the component's part of the page, `q`, which finds things in it, and `until`.

const rows = {
  'parameters are of every kind': {
    view: `<button diff:click="say([1, {a: 'x'}], 'it\\'s', 432224099704639488)">b</button><output>{said}</output>`,
    run: async ({ q, until }) => {
      q('button').click();
      await until(() => q('output').textContent === "[[1,{'a':'x'}],'it's',432224099704639488]");
    },
  },
  'an event hands on what it is': {
    view: '<input diff:input.debounce.20ms="say($event.target.value, $event.type, [])"><output>{said}</output>',
    run: async ({ q, until }) => {
      q('input').value = 'héllo';
      q('input').dispatchEvent(new InputEvent('input', { bubbles: true }));
      await until(() => q('output').textContent === "['héllo','input',[]]");
    },
  },
  'a custom element says what it holds by an event of its own, and shows what comes back': {
    view: '<x-field value="{said}" diff:x-change="say($event.target.value, 1, 2)"></x-field><output>{said}</output>',
    run: async ({ q, until }) => {
      customElements.define('x-field', class extends HTMLElement {
        static formAssociated = true;
        static observedAttributes = ['value'];
        attributeChangedCallback(_name, _old, text) { this.value = text; }
      });
      const field = q('x-field');
      field.value = 'new';
      field.dispatchEvent(new CustomEvent('x-change'));
      await until(() => q('output').textContent === "['new',1,2]" && field.value === "['new',1,2]" && q('x-field') === field);
    },
  },
  'modifiers': {
    view: `<div id="outer"><a href="/nowhere" diff:click.prevent="add(1)">a</a><b diff:click.stop="add(10)">b</b><i diff:click.once="add(100)">i</i></div>
      <u diff:custom-thing.window="add(1000)">u</u><s diff:click.throttle.60000="add(10000)">s</s><p diff:click.self="add(9)"><em>e</em></p><output>{n}</output>`,
    run: async ({ q, until }) => {
      let reached = 0;
      q('#outer').addEventListener('click', () => { reached += 1; });
      for (const name of ['a', 'b', 'i', 'i', 's', 's', 'em']) q(name).click();
      window.dispatchEvent(new Event('custom-thing'));
      await until(() => q('output').textContent === '11111');
      if (reached !== 3) throw new Error(`the outer element heard ${reached} clicks`);
      if (location.pathname === '/nowhere') throw new Error('the link was followed');
    },
  },
  'diff:confirm': {
    view: '<button diff:click="add(1)" diff:confirm="Really?">b</button><output>{n}</output>',
    run: async ({ q, until }) => {
      const answers = [false, true];
      window.confirm = () => answers.shift();
      q('button').click();
      q('button').click();
      await until(() => q('output').textContent === '1' && !answers.length);
    },
  },
  'diff:dirty': {
    view: '<input diff:model="text" diff:dirty.class="changed"><b diff:dirty>unsaved</b><button diff:click="add(1)">b</button><output>{n}</output>',
    run: async ({ q, until, isShown }) => {
      await until(() => !isShown(q('b')));
      q('input').value = 'x';
      q('input').dispatchEvent(new InputEvent('input', { bubbles: true }));
      await until(() => isShown(q('b')) && q('input').className === 'changed');
      q('button').click();
      await until(() => q('output').textContent === '1' && !isShown(q('b')) && q('input').className === '');
    },
  },
  'diff:show': {
    view: '<b diff:show="open && n == 0">open</b><button diff:click="toggle">b</button>',
    run: async ({ q, until, isShown }) => {
      await until(() => !isShown(q('b')));
      q('button').click();
      await until(() => isShown(q('b')));
      q('button').click();
      await until(() => !isShown(q('b')));
    },
  },
  'diff:ignore': {
    view: '<div class="own" diff:ignore title="{n}"><i>{n}</i></div><p diff:ignore.self title="{n}">{n}</p><button diff:click="add(1)">b</button><output>{n}</output>',
    run: async ({ q, until }) => {
      const own = q('.own');
      own.innerHTML = '<u>of a script</u>';
      q('p').title = 'own';
      q('button').click();
      await until(() => q('output').textContent === '1');
      if (own.innerHTML !== '<u>of a script</u>' || own.title !== '0') throw new Error(own.outerHTML);
      if (q('p').title !== 'own' || q('p').textContent !== '1') throw new Error(q('p').outerHTML);
    },
  },
  'diff:init': {
    view: '<i diff:init="add(1)"></i><output>{n}</output>',
    run: ({ q, until }) => until(() => q('output').textContent === '1'),
  },
  'diff:intersect': {
    view: '<div style="height: 4000px"></div><i diff:intersect.once="add(1)">here</i><output>{n}</output>',
    run: async ({ q, until }) => {
      if (q('output').textContent !== '0') throw new Error('it was not in view');
      q('i').scrollIntoView();
      await until(() => q('output').textContent === '1');
      window.scrollTo(0, 0);
    },
  },
  'diff:loading, several on one element, and what the answer sets': {
    view: `<button {lock} style="opacity: 0.9" class="a on" diff:click="slow(60, 7)" diff:loading diff:loading.class.busy diff:loading.remove.on diff:loading.attr.disabled>b</button>
      <i diff:loading.show>wait</i><u diff:loading.remove>u</u><output>{n}</output>`,
    run: async ({ q, until, isShown }) => {
      const button = q('button');
      await until(() => !isShown(q('i')));
      button.click();
      await until(() => button.disabled && button.className === 'a busy' && getComputedStyle(button).opacity === '0.5' && isShown(q('i')) && !isShown(q('u')));
      // The answer disables it for good.
      await until(() => q('output').textContent === '7' && !isShown(q('i')));
      if (!button.disabled || getComputedStyle(button).opacity !== '0.9' || !['a on', 'on a'].includes(button.className)) throw new Error(button.outerHTML);
    },
  },
  'diff:target': {
    view: `<button diff:click="slow(60, 1)">b</button><i diff:loading.class.on diff:target="slow(60, 1)"></i><u diff:loading.class.on diff:target="add"></u>
      <s diff:loading.class.on diff:target.except="slow"></s><output>{n}</output>`,
    run: async ({ q, until }) => {
      q('button').click();
      await until(() => q('i').className === 'on');
      if (q('u').className || q('s').className) throw new Error('others were meant');
      await until(() => q('output').textContent === '1' && q('i').className === '');
    },
  },
  'a poll keeps no click waiting, and does not undo it': {
    view: '<button diff:click="add(1)">b</button><i diff:poll="50" diff:poll.action="slow(700, 100)"></i><output>{n}</output>',
    run: async ({ q, until, id }) => {
      const order = [];
      const end = diffyne.on('settled', ({ component, method }) => { if (component.id === id) order.push(method); });
      await until(() => calls.some((call) => call.component.id === id));
      q('button').click();
      await until(() => order.includes('slow'));
      end();
      if (order[0] !== 'add') throw new Error(`the order was ${order}`);
      if (q('output').textContent !== '1') throw new Error(q('output').textContent);
      q('i').remove();
    },
  },
  'a poll follows patches': {
    view: `<p><i diff:poll="40" diff:poll.action="add(1)"></i></p><output>{n}</output><button diff:click="stage('<p></p><output>{n}</output>')">end</button>`,
    run: async ({ q, until, id }) => {
      await until(() => Number(q('output').textContent) >= 2);
      q('button').click();
      await until(() => !q('button'));
      const count = calls.length;
      const n = q('output').textContent;
      await new Promise((resolve) => { setTimeout(resolve, 200); });
      if (calls.slice(count).some(({ component }) => component.id === id) || q('output').textContent !== n) throw new Error('it went on');
    },
  },
  'errors have a place': {
    view: '<button diff:click="fail">f</button><u diff:click="add(1)">a</u><p role="alert" diff:error hidden></p><output>{n}</output>',
    run: async ({ q, until }) => {
      q('button').click();
      await until(() => q('p').textContent !== '' && !q('p').hidden);
      q('u').click();
      await until(() => q('p').textContent === '' && q('p').hidden);
    },
  },
  'a script looks after an element': {
    view: '<i data-diffyne-hook="Chart"></i><button diff:click="add(1)">b</button><output>{n}</output>',
    run: async ({ q, until }) => {
      const told = [];
      const tell = (name) => function say() { told.push(`${name} ${this.element.localName}`); };
      diffyne.hook('Chart', { mounted: tell('mounted'), updated: tell('updated'), destroyed: tell('destroyed') });
      await until(() => told.length === 1);
      q('button').click();
      await until(() => told.includes('updated i'));
      q('i').remove();
      await until(() => told.at(-1) === 'destroyed i');
    },
  },
  'a script hears of calls, patches and failures': {
    view: '<button diff:click="add(1)">b</button><u diff:click="fail">f</u><output>{n}</output>',
    run: async ({ q, until, id }) => {
      const told = [];
      const ends = ['call', 'morph', 'morphed', 'settled', 'error'].map((name) =>
        diffyne.on(name, ({ component }) => { if (component.id === id) told.push(name); }));
      q('button').click();
      q('u').click();
      await until(() => told.join() === 'call,morph,morphed,settled,call,error,settled');
      ends.forEach((end) => end());
    },
  },
  'latency for developers': {
    view: '<button diff:click="add(1)">b</button><output>{n}</output>',
    run: async ({ q, until }) => {
      await diffyneClient.latency(250);
      const start = performance.now();
      q('button').click();
      await until(() => q('output').textContent === '1');
      const took = performance.now() - start;
      diffyneClient.latency(0);
      if (took < 250) throw new Error(`${took} ms`);
    },
  },
  'debugging for developers': {
    view: '<button diff:click="add(1)">b</button><output>{n}</output>',
    run: async ({ q, until }) => {
      const { debug } = console;
      const lines = [];
      console.debug = (...words) => { lines.push(words.join(' ')); };
      try {
        await diffyneClient.debug();
        q('button').click();
        await until(() => lines.some((line) => line.includes('←')));
        await diffyneClient.debug(false);
        q('button').click();
        await until(() => q('output').textContent === '2');
      } finally {
        console.debug = debug;
      }
      const about = (sign) => lines.filter((line) => line.startsWith(`diffyne: ${sign}`)).length;
      if (about('→') !== 1 || about('←') !== 1 || about('1 patches') !== 1) throw new Error(lines.join('; '));
    },
  },
  'a poll begins and changes with patches': {
    view: `<p></p><button diff:click="stage('<p><i diff:poll=&quot;20&quot; diff:poll.action=&quot;add(1)&quot;></i></p>')">begin</button>`,
    run: async ({ q, until, id }) => {
      const has = (n) => calls.some(({ component, method, params }) => component.id === id && method === 'add' && params[0] === n);
      q('button').click();
      await until(() => has(1));
      q('i').setAttribute('diff:poll.action', 'add(1000)');
      await until(() => has(1000));
    },
  },
  'a copy of the page goes on from where it was': {
    view: '<button diff:click="add(1)">b</button><output>{n}</output>',
    run: async ({ q, until, root }) => {
      q('button').click();
      await until(() => q('output').textContent === '1');
      const copy = root.cloneNode(true);
      root.replaceWith(copy);
      await until(() => calls.length >= 0 && copy.isConnected);
      await new Promise((resolve) => { setTimeout(resolve); });
      copy.querySelector('button').click();
      await until(() => copy.querySelector('output').textContent === '2');
    },
  },
  'a form whose button is pressed twice is sent once': {
    view: '<form diff:submit="slow(60, 1)"><button>b</button></form><output>{n}</output>',
    run: async ({ q, until, id }) => {
      for (const n of ['1', '2']) {
        q('button').click();
        q('button').click();
        await until(() => q('output').textContent === n);
      }
      const count = calls.filter(({ component }) => component.id === id).length;
      if (count !== 2) throw new Error(`${count} calls`);
    },
  },
  'a dialog that the server closes lets the page be used': {
    view: `<dialog open>d</dialog><button diff:click="stage('<dialog>d</dialog><i>closed</i>')">b</button>`,
    run: async ({ q, until }) => {
      q('dialog').removeAttribute('open');
      q('dialog').showModal();
      q('button').click();
      await until(() => q('i'));
      if (q('dialog').matches(':modal')) throw new Error('it is modal still');
    },
  },
  'a select keeps what was chosen': {
    view: `<select><option value="1">a</option><option value="2">b</option></select>
      <button diff:click="stage('<select><option value=0>z</option><option value=1>a</option><option value=2>b</option></select>')">b</button>`,
    run: async ({ q, until }) => {
      q('select').value = '2';
      q('button').click();
      await until(() => q('[value="0"]'));
      if (q('select').value !== '2') throw new Error(q('select').value);
    },
  },
  'a form whose fields have the names of methods': {
    view: `<form diff:submit="add(1)"><input name="attributes"><input name="getAttribute"><input name="closest"><input name="isConnected"><input name="querySelectorAll">
      <button diff:click="add(10)" diff:loading.attr.disabled>b</button></form><output>{n}</output>`,
    run: async ({ q, until }) => {
      q('button').click();
      await until(() => q('output').textContent === '11');
    },
  },
};

const calls = [];
const PATIENCE_MS = 15_000;
const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;');

async function until(condition) {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > PATIENCE_MS) throw new Error(`in vain: ${condition}: ${document.body.lastElementChild.innerHTML.slice(-400)}`);
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
}

/** Shows a component, and returns its part of the page. */
function stage(id, view) {
  const state = { view, n: 0, said: '', text: '', open: false };
  const html = view.replaceAll('{n}', '0').replaceAll('{said}', '').replaceAll('{lock}', '');
  document.body.insertAdjacentHTML('beforeend', `<section><div diff:id="${id}" diff:class="App\\Tests\\Stage" diff:state="${escaped(JSON.stringify(state))}"
    diff:fingerprint="" diff:signature="" diff:listeners="[]" data-diffyne-component data-diffyne-loaded><div>${html}</div></div></section>`);
  return document.body.lastElementChild.firstElementChild;
}

/** Runs all rows at once; what went wrong, by row. */
async function runRows() {
  diffyne.on('call', (call) => { calls.push(call); });
  const faults = {};
  let number = 0;
  for (const [name, { view, run }] of Object.entries(rows)) {
    number += 1;
    const root = stage(`row-${number}`, view);
    const section = root.parentElement;
    const q = (selector) => root.querySelector(selector);
    const isShown = (element) => element.checkVisibility();
    // Directives are attached when the page has been looked at, and what some of them need is there.
    await Promise.all(['modifiers', 'poll', 'loading', 'hook'].map((part) => import(`/_diffyne/directives/${part}.js`)));
    await new Promise((resolve) => { setTimeout(resolve); });
    try {
      await run({ root, q, until, isShown, id: `row-${number}` });
    } catch (error) {
      faults[name] = String(error.message ?? error);
    }
    section.remove();
  }
  return faults;
}
