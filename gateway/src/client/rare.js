// The directives that pages load when they have one.

const MODULES = {
  dirty: () => import('./directives/dirty.js'),
  error: () => import('./directives/failure.js'),
  hook: () => import('./directives/hook.js'),
  init: () => import('./directives/init.js'),
  intersect: () => import('./directives/intersect.js'),
  loading: () => import('./directives/loading.js'),
  navigate: () => import('./directives/navigate.js'),
  offline: () => import('./directives/offline.js'),
  on: () => import('./directives/on.js'),
  poll: () => import('./directives/poll.js'),
  show: () => import('./directives/show.js'),
};

// What attaches a directive.
export const load = async (name, client) => (await MODULES[name]())[name](client);
