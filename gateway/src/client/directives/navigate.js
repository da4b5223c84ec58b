// <a href="/other" diff:navigate>: the next page comes in the place of this one, without being loaded. It is fetched when
// the mouse goes down on the link; with `.hover` as soon as it rests there.

const HOVER_MS = 60;

export function navigate({ address }) {
  return ({ element, modifiers }) => {
    const ready = address.navigation();
    // The browser can load pages by itself.
    ready.catch(() => {});
    const ahead = () => { if (isOurs(element)) ready.then((navigation) => navigation.prefetch(target(element)), () => {}); };
    const listeners = {
      click: (event) => {
        if (!isOurs(element) || !isPlain(event)) return;
        event.preventDefault();
        ready.then((navigation) => navigation.visit(element.href)).catch(() => location.assign(element.href));
      },
      mousedown: (event) => { if (isPlain(event)) ahead(); },
      touchstart: ahead,
    };
    let timer;
    if (modifiers.includes('hover')) {
      listeners.mouseenter = () => { timer = setTimeout(ahead, HOVER_MS); };
      listeners.mouseleave = () => clearTimeout(timer);
      listeners.focus = ahead;
    }
    for (const [name, listener] of Object.entries(listeners)) element.addEventListener(name, listener, { passive: name === 'touchstart' });
    return () => {
      clearTimeout(timer);
      for (const [name, listener] of Object.entries(listeners)) element.removeEventListener(name, listener);
    };
  };
}

const target = ({ href }) => href.split('#')[0];

const isPlain = ({ button, altKey, ctrlKey, metaKey, shiftKey, defaultPrevented }) =>
  !(button || altKey || ctrlKey || metaKey || shiftKey || defaultPrevented);

// A page of this site, which is to be shown here, and is another one than this.
function isOurs(link) {
  return link.origin === location.origin && link.protocol.startsWith('http') && !link.hasAttribute('download')
    && ['', '_self'].includes(link.target ?? '') && !(link.hash && target(link) === location.href.split('#')[0]);
}
