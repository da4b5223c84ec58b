// diff:intersect calls a method when its element comes into view, with `.leave` when it leaves it; `.once`, `.half`,
// `.full`, `.threshold.40`, `.margin.200px`.

import { act } from '../action.js';

export function intersect(client) {
  return (found) => {
    const { element, modifiers } = found;
    const after = (word) => modifiers[modifiers.indexOf(word) + 1];
    const has = (word) => modifiers.includes(word);
    const threshold = has('full') ? 0.99 : has('half') ? 0.5 : has('threshold') ? Number(after('threshold')) / 100 : 0;
    const rootMargin = has('margin') ? after('margin').replace(/^-?\d+$/, '$&px') : '0px';
    let wasInView = false;
    const observer = new IntersectionObserver((entries) => {
      const { isIntersecting, intersectionRatio } = entries.at(-1);
      const isInView = isIntersecting && intersectionRatio >= threshold;
      if (has('leave') ? wasInView && !isInView : !wasInView && isInView) {
        act(client, found);
        if (has('once')) observer.disconnect();
      }
      wasInView = isInView;
    }, { threshold, rootMargin });
    observer.observe(element);
    return () => observer.disconnect();
  };
}
