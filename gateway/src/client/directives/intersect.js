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
    let isOver = false;
    const look = ({ isIntersecting, intersectionRatio }) => {
      const isInView = isIntersecting && intersectionRatio >= threshold;
      if (!isOver && (has('leave') ? wasInView && !isInView : !wasInView && isInView)) {
        act(client, found);
        isOver = has('once');
        if (isOver) observer.disconnect();
      }
      wasInView = isInView;
    };
    // Of a busy page a browser tells several at once: it may have left the view and come back.
    const observer = new IntersectionObserver((entries) => entries.forEach(look), { threshold, rootMargin });
    observer.observe(element);
    return () => observer.disconnect();
  };
}
