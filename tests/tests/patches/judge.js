// Compares the DOM that patches lead to with the DOM that the new HTML gives. What clients do not count is compared
// where one sees it: whether there is white space between two inline nodes.
(() => {
  const isCounted = ({ nodeType, data }) => nodeType !== 3 || data.trim() !== '';
  const contentOf = (node) => (node.localName === 'template' && node.content ? node.content : node);
  const childrenOf = (node) => [...contentOf(node).childNodes].filter(isCounted);
  // Their value means nothing.
  const BOOLEAN = ['checked', 'disabled', 'multiple', 'open', 'readonly', 'selected'];
  const attributeOf = ({ namespaceURI, localName, name, value }) =>
    `${namespaceURI ?? ''}|${namespaceURI ? localName : name}=${BOOLEAN.includes(name) ? '' : value}`;
  const attributesOf = ({ attributes }) => [...attributes].map(attributeOf).sort();

  const BLOCKS = 'ADDRESS ARTICLE ASIDE BLOCKQUOTE BR CAPTION COL COLGROUP DD DETAILS DIV DL DT FIELDSET FOOTER FORM H1 H2 H3 H4 H5 H6 HEADER HR LI MAIN'
    + ' MENU NAV OL OPTGROUP OPTION P PRE SCRIPT SECTION SELECT STYLE SUMMARY TABLE TBODY TD TEMPLATE TFOOT TH THEAD TR UL';
  const isInline = ({ nodeType, nodeName }) => nodeType === 3 || (nodeType === 1 && !BLOCKS.split(' ').includes(nodeName));
  const isSpaced = ({ namespaceURI, localName }) => namespaceURI === 'http://www.w3.org/1999/xhtml' && !['select', 'optgroup', 'table'].includes(localName);
  // Where white space is seen between two children.
  function gapsOf(node) {
    if (!isSpaced(node)) return '';
    const children = childrenOf(node);
    const gap = (a, b) => {
      if (!isInline(a) || !isInline(b)) return '.';
      const text = [...contentOf(node).childNodes];
      const between = text.slice(text.indexOf(a) + 1, text.indexOf(b)).length > 0;
      return between || (a.nodeType === 3 && /\s$/.test(a.data)) || (b.nodeType === 3 && /^\s/.test(b.data)) ? '_' : '|';
    };
    return children.slice(1).map((child, index) => gap(children[index], child)).join('');
  }

  // What a field shows, beyond its attributes. Which option a browser selects where none says so is its own matter, and so
  // is which of two checked radio buttons of one name it keeps. White space around a text may come from what was there.
  function fieldOf(element) {
    if (element.namespaceURI !== 'http://www.w3.org/1999/xhtml') return '';
    if (element.localName === 'input') return `${element.value}|${element.type === 'checkbox' && element.checked}`;
    return element.localName === 'textarea' ? element.value.trim() : '';
  }

  function describe(node) {
    if (!node) return 'nothing';
    if (node.nodeType === 1) return node.outerHTML;
    return `${node.nodeType === 8 ? 'comment' : 'text'} ${JSON.stringify(node.data)}`;
  }

  // The first difference, or null.
  function difference(got, expected, path) {
    const differs = (what, a, b) => `${path}: ${what}: ${a} instead of ${b}`;
    if (!got || !expected || got.nodeType !== expected.nodeType) return differs('node', describe(got), describe(expected));
    if (got.nodeType !== 1) return got.data === expected.data ? null : differs('data', describe(got), describe(expected));
    const name = ({ namespaceURI, localName }) => `${namespaceURI} ${localName}`;
    if (name(got) !== name(expected)) return differs('element', name(got), name(expected));
    const [a, b] = [attributesOf(got), attributesOf(expected)].map((list) => list.join('\n'));
    if (a !== b) return differs('attributes', a, b);
    const children = [childrenOf(got), childrenOf(expected)];
    for (let i = 0; i < Math.max(children[0].length, children[1].length); i++) {
      const found = difference(children[0][i], children[1][i], `${path}/${i}`);
      if (found) return found;
    }
    const gaps = [gapsOf(got), gapsOf(expected)];
    if (gaps[0] !== gaps[1]) return differs('white space', got.outerHTML, expected.outerHTML);
    const [c, d] = [fieldOf(got), fieldOf(expected)];
    return c === d ? null : differs('field', c, d);
  }

  function wrapperOf(html) {
    const wrapper = document.createElement('div');
    wrapper.innerHTML = html;
    return wrapper;
  }

  function check(apply, page, steps) {
    const wrapper = wrapperOf(page);
    for (const [patches, html] of steps) {
      try {
        apply(wrapper, patches);
      } catch (error) {
        return `thrown: ${error}`;
      }
      const found = difference(wrapper, wrapperOf(html), '');
      if (found) return found;
    }
    return null;
  }

  // Both clients. diffyne.js only logs what it cannot apply.
  window.clients = {};
  window.judge = (client, cases) => cases.map(([page, steps]) => check(window.clients[client], page, steps));
})();
