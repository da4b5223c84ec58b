// What happens to components, for the directives and for scripts of the page: `on(name, listener)` hears of it.

export class Hooks {
  #listeners = new Map(); // by name

  // Returns a function that ends it.
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  // A listener that throws harms neither the others nor who tells.
  emit(name, detail) {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        console.error(`diffyne: a listener for ${name} failed`, error);
      }
    }
  }
}
