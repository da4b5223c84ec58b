// A stand-in for diffyne.js in tests: its documented surface and its habits (the state is read when a call runs, an
// older answer is dropped when a newer call has left), written for these tests from the protocol's description.

(() => {
  const json = (text, otherwise) => { try { return JSON.parse(text) ?? otherwise; } catch { return otherwise; } };
  const copy = (value) => JSON.parse(JSON.stringify(value));
  const model = (field) => [...field.attributes].find(({ name }) => name === 'diff:model' || name.startsWith('diff:model.'));

  class Transport {
    constructor(config) { this.config = config; this.ws = null; this.connections = 0; }
    connectWebSocket() { this.connections += 1; this.ws = new WebSocket(this.config.wsUrl); this.ws.onclose = () => setTimeout(() => this.connectWebSocket(), 3000); }
    async send(payload) { return this.config.transport === 'websocket' ? this.sendWebSocket(payload) : this.sendAjax(payload); }
    async sendAjax() { throw new Error('the stand-in sends nothing by itself'); }
    async sendWebSocket() { throw new Error('the stand-in sends nothing by itself'); }
    async loadLazy() { throw new Error('the stand-in loads nothing by itself'); }
  }

  class Registry {
    constructor() { this.components = new Map(); }
    get(id) { return this.components.get(id); }
    remove(id) { return this.components.delete(id); }
    register(id, data) { this.components.set(id, { ...data, serverState: copy(data.state), errors: {} }); }
  }

  class EventManager {
    constructor() { this.listeners = new Map(); }
    on(componentId, name, handler) {
      if (!this.listeners.has(name)) this.listeners.set(name, []);
      this.listeners.get(name).push({ componentId, handler });
    }
    dispatchEvents(events) {
      for (const { name, params, to } of events ?? []) {
        for (const { componentId, handler } of this.listeners.get(name) ?? []) {
          if (!to?.length || to.includes(componentId)) handler(...params);
        }
      }
    }
    removeListenersForComponent(id) {
      for (const [name, list] of this.listeners) this.listeners.set(name, list.filter(({ componentId }) => componentId !== id));
    }
  }

  class ModelSync {
    sync(root, state) {
      for (const field of root.querySelectorAll('input, textarea, select')) {
        const attribute = model(field);
        if (attribute && attribute.value in state) this.syncInput(field, state[attribute.value]);
      }
    }
    syncInput(field, value) {
      if (field.type === 'file') return;
      if (field.type === 'checkbox') field.checked = Boolean(value);
      else if (field.type === 'radio') field.checked = field.value === String(value);
      else if (field.value !== (value ?? '')) field.value = value ?? '';
    }
  }

  const meaningful = (node) => [...node.childNodes].filter((child) => child.nodeType !== 3 || child.data.trim() !== '');
  const at = (root, path) => path.reduce((node, index) => meaningful(node)[index], root);
  function make({ t, a, c, x, m }) {
    if (x !== undefined) return document.createTextNode(x);
    if (m !== undefined) return document.createComment(m);
    const element = document.createElement(t);
    for (const name of Object.keys(a ?? {})) element.setAttribute(name, a[name]);
    for (const child of c ?? []) element.appendChild(make(child));
    return element;
  }
  function patchOne(root, { t, p, d }) {
    const last = p.at(-1);
    if (t === 'c') {
      const parent = at(root, p.slice(0, -1));
      parent.insertBefore(make(d.node), meaningful(parent)[last] ?? null);
      return;
    }
    const node = at(root, p);
    if (t === 'r') node.remove();
    if (t === 'R') node.replaceWith(make(d.node));
    if (t === 't') node.textContent = d.x;
    if (t === 'o') for (const { from, to } of d.moves) node.insertBefore(node.childNodes[from], node.childNodes[to] ?? null);
    if (t === 'a') {
      for (const name of Object.keys(d.s ?? {})) { node.setAttribute(name, d.s[name]); if (name === 'value') node.value = d.s[name]; }
      for (const name of d.r ?? []) { node.removeAttribute(name); if (name === 'value') node.value = ''; }
    }
  }
  function patchAll(root, patches) {
    if (patches.length === 1 && patches[0].t === 'c' && !patches[0].p.length) { root.replaceWith(make(patches[0].d.node)); return; }
    const order = ({ p: a }, { p: b }) => {
      for (let i = Math.min(a.length, b.length) - 1; i >= 0; i -= 1) if (a[i] !== b[i]) return b[i] - a[i];
      return b.length - a.length;
    };
    patches.filter(({ t }) => t === 'r').sort(order).forEach((patch) => patchOne(root, patch));
    patches.filter(({ t }) => t !== 'r').sort((a, b) => b.p.length - a.p.length).forEach((patch) => patchOne(root, patch));
  }

  class Errors {
    display(root, errors) { for (const [field, [text]] of Object.entries(errors)) root.querySelector(`[diff\\:error="${field}"]`).textContent = text; }
    clear(root) { for (const place of root.querySelectorAll('[diff\\:error]')) place.textContent = ''; }
  }

  class Diffyne {
    constructor(config) {
      this.config = { transport: 'ajax', endpoint: '/_diffyne', ...config };
      this.transport = new Transport(this.config);
      this.registry = new Registry();
      this.eventManager = new EventManager();
      this.modelSync = new ModelSync();
      this.errorService = new Errors();
      this.patchApplier = { applyPatches: patchAll };
      this.sequence = new Map();
      if (this.config.transport === 'websocket') this.transport.connectWebSocket();
      window.addEventListener('popstate', () => location.reload());
      for (const element of document.querySelectorAll('[diff\\:id]')) if (!element.hasAttribute('data-diffyne-lazy')) this.hydrateComponent(element);
      setTimeout(() => document.querySelectorAll('[data-diffyne-lazy]').forEach((element) => this.loadLazyComponent(element)), 100);
    }

    hydrateComponent(element) {
      const id = element.getAttribute('diff:id');
      const state = json(element.getAttribute('diff:state'), {});
      const [fingerprint, signature] = ['diff:fingerprint', 'diff:signature'].map((name) => element.getAttribute(name));
      this.adopt(id, element, { state, fingerprint, signature }, json(element.getAttribute('diff:listeners'), {}));
    }

    adopt(id, element, data, listeners) {
      this.registry.register(id, { id, element, componentClass: element.getAttribute('diff:class'), ...data });
      this.modelSync.sync(element, data.state);
      for (const [name, methods] of Object.entries(listeners)) {
        for (const method of methods) this.eventManager.on(id, name, async (...params) => { await this.callMethod(id, method, params); });
      }
      if (element.hasAttribute('data-delegated')) return;
      element.setAttribute('data-delegated', '');
      const act = (text) => this.handleAction(id, text);
      element.addEventListener('click', ({ target }) => { const place = target.closest('[diff\\:click]'); if (place) act(place.getAttribute('diff:click')); });
      element.addEventListener('submit', (event) => { event.preventDefault(); act(event.target.getAttribute('diff:submit')); });
      element.addEventListener('input', ({ target }) => {
        const attribute = model(target);
        if (!attribute) return;
        if (!attribute.name.includes('.live')) { this.updateLocalState(id, attribute.value, target.value); return; }
        clearTimeout(target.timer);
        const { value } = target;
        target.timer = setTimeout(() => this.handleModelUpdate(id, attribute.value, value), 50);
      });
      element.addEventListener('change', ({ target }) => {
        const attribute = model(target);
        if (!attribute || (target.type === 'radio' && !target.checked)) return;
        const isChoice = target.localName === 'select' || ['checkbox', 'radio'].includes(target.type);
        if (isChoice || attribute.name.includes('.lazy')) this.handleModelUpdate(id, attribute.value, target.type === 'checkbox' ? target.checked : target.value);
      });
    }

    updateLocalState(id, property, value) { this.registry.get(id).state[property] = value; }

    async loadLazyComponent(element) {
      const id = element.getAttribute('diff:id');
      const query = Object.fromEntries(new URLSearchParams(location.search));
      const data = await this.transport.loadLazy(element.getAttribute('diff:class'), id, json(element.getAttribute('diff:params'), {}), query);
      element.removeAttribute('data-diffyne-lazy');
      element.innerHTML = data.html;
      this.adopt(id, element, { state: data.state, fingerprint: data.fingerprint }, data.eventListeners ?? {});
    }

    async handleAction(id, action) {
      const [, method, params = ''] = action.match(/^(\w+)(?:\((.*)\))?$/);
      await this.callMethod(id, method, params ? params.split(',').map((param) => json(param.trim(), param)) : []);
    }

    callMethod(id, method, params = []) { return this.exchange(id, 'call', { method, params }); }
    handleModelUpdate(id, property, value) { return this.updateProperty(id, property, value); }
    updateProperty(id, property, value) { return this.exchange(id, 'update', { property, value }); }

    async exchange(id, type, what) {
      const component = this.registry.get(id);
      if (!component) return;
      const turn = (this.sequence.get(id) ?? 0) + 1;
      this.sequence.set(id, turn);
      const { componentClass, fingerprint, signature } = component;
      const state = type === 'call' ? copy(component.state) : component.serverState;
      try {
        const response = await this.transport.send({ type, componentId: id, componentClass, ...what, state, fingerprint, signature });
        if (turn < this.sequence.get(id)) return;
        this.process(component, response, what.property);
      } catch (error) {
        const errors = error.details?.errors;
        if (!errors) console.error('[stand-in]', error);
        else this.errorService.display(component.element, errors);
      }
    }

    process(component, response, property) {
      if (response.redirect) { location.href = response.redirect.url; return; }
      const { p, st, f, sig } = response.c;
      this.patchApplier.applyPatches(component.element.firstElementChild, p);
      component.serverState = copy(st);
      if (property) {
        component.state = { ...component.state, [property]: st[property] };
        for (const field of component.element.querySelectorAll('input, textarea, select')) if (model(field)?.value === property) this.modelSync.syncInput(field, st[property]);
      } else {
        component.state = st;
        this.modelSync.sync(component.element, st);
      }
      component.fingerprint = f;
      component.signature = sig;
      this.errorService.clear(component.element);
      if (response.c.q) this.showQuery(response.c.q);
      if (response.events) this.eventManager.dispatchEvents(response.events);
      for (const { name, data } of response.browserEvents ?? []) window.dispatchEvent(new CustomEvent(name, { detail: data }));
    }

    showQuery(values) {
      const url = new URL(location);
      for (const [name, value] of Object.entries(values)) {
        if (value === null || value === '') url.searchParams.delete(name);
        else url.searchParams.set(name, value);
      }
      history.pushState({}, '', url);
    }
  }

  window.Diffyne = Diffyne;
  document.addEventListener('DOMContentLoaded', () => { window.diffyne = new Diffyne(window.diffyneConfig ?? {}); });
})();
