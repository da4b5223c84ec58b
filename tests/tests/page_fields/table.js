// The table of docs/page-scripts.md, as a page walks it: each kind of field on each type of a property. `first`, `typed`
// and `other` are what the fields of a row show at first, after somebody was at work on them, and after the server has
// set other values; `state` is what the server gets of `typed`, `reset` what it gets after the form was reset.
(() => {
  const row = (property, fields, first, typed, state, other, reset) => ({ property, fields, first, typed, state, other, reset });
  const one = (id, ...columns) => row(id, [id], ...columns.slice(0, 1).map((value) => [value]), [columns[1]], columns[2], [columns[3]], columns[4]);
  const rows = [
    one('text', 'a', 'new ', 'new ', 'other', ''),
    one('lazy', 'a', 'new', 'new', 'other', ''),
    one('live', '', 'new', 'new', 'other', ''),
    one('price', '1.5', '7.25', 7.25, '2.25', 1.5),
    one('count', '5', '9', 9, '6', 5),
    one('age', '', '30', 30, '7', null),
    one('range', '150', '20', 20, '50', 100),
    one('area', 'a\nb', 'x\ny', 'x\ny', 'other', ''),
    one('day', '2026-01-02', '2026-12-24', '2026-12-24', '2026-03-04', ''),
    one('on', false, true, true, true, false),
    one('digit', false, true, '1', true, '0'),
    one('number', true, false, 0, false, 0),
    one('word', true, false, '', false, ''),
    row('tags', ['tag-a', 'tag-b', 'tag-c'], [false, true, false], [true, true, false], ['a', 'b'], [true, false, true], []),
    row('ids', ['id-1', 'id-2', 'id-3'], [false, false, false], [false, true, true], [2, 3], [true, false, true], []),
    row('size', ['size-s', 'size-m', 'size-l'], [false, true, false], [true, false, false], 's', [false, false, true], undefined),
    row('sure', ['sure-1', 'sure-0'], [false, true], [true, false], true, [true, false], undefined),
    row('floor', ['floor-1', 'floor-2'], [false, true], [true, false], 1, [true, false], undefined),
    one('city', 'Oslo', 'Rome', 'Rome', '', ''),
    one('open', '0', '1', true, '1', true),
    one('room', '', '1', 1, '2', null),
    one('days', 'mon,wed', 'tue,wed', ['tue', 'wed'], 'tue', []),
    one('rows', '2', '1,3', [1, 3], '1,3', []),
  ];
  const field = (id) => document.getElementById(id);
  const isBox = ({ type }) => type === 'checkbox' || type === 'radio';
  const shows = (element) => {
    if (isBox(element)) return element.checked;
    return element.multiple ? [...element.selectedOptions].map(({ value }) => value).join() : element.value;
  };
  const setTo = (element, value) => {
    if (isBox(element)) element.checked = value;
    else if (element.multiple) for (const option of element.options) option.selected = value.split(',').includes(option.value);
    else element.value = value;
  };
  const tell = (element, ...types) => { for (const type of types) element.dispatchEvent(new Event(type, { bubbles: true })); };
  const state = () => JSON.parse(field('dump').textContent);
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  window.walk = {
    state,
    /** The rows whose fields do not show what this column says. */
    wrong: (column) => rows.filter((r) => !same(r.fields.map((id) => shows(field(id))), r[column]))
      .map((r) => `${r.property}: ${JSON.stringify(r.fields.map((id) => shows(field(id))))} instead of ${JSON.stringify(r[column])}`),
    /** The rows whose property is not what this column says; those that say nothing there are left out. */
    unlike: (column) => rows.filter((r) => r[column] !== undefined && !same(state()[r.property], r[column]))
      .map((r) => `${r.property}: ${JSON.stringify(state()[r.property])} instead of ${JSON.stringify(r[column])}`),
    /** Somebody is at work on all fields. */
    act() {
      for (const { fields, typed } of rows) {
        fields.forEach((id, index) => {
          const element = field(id);
          if (isBox(element)) {
            if (element.checked !== typed[index] && (element.type !== 'radio' || typed[index])) element.click();
            return;
          }
          element.focus();
          setTo(element, typed[index]);
          tell(element, 'input', 'change');
          element.blur();
        });
      }
    },
    /** A browser fills in all fields, and tells nobody. */
    fill() {
      for (const { fields, typed } of rows) fields.forEach((id, index) => setTo(field(id), typed[index]));
    },
  };
})();
