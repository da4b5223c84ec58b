// One call at a time per component. The state travels with each call: a second one that left before the first is
// answered would start from the same state, and one of two clicks would be lost.

const WAITING_MAX = 1_000;

export class Queues {
  #queues = new Map(); // by component id: {running, waiting: [job]}

  // Runs `job.run()` when the component's turn comes; the promise settles with it and never rejects.
  // A job that `yields` keeps no other one waiting: it is overtaken by the next one, and has to look at `isOvertaken`
  // before it does what it has run for.
  // A job with `merge` may take another's place: `last` that of an equal one right before it (the newest value of a
  // field), `any` none, as an equal one that still waits will see the same things.
  add(id, job) {
    const queue = this.#queues.get(id) ?? { running: null, waiting: [] };
    this.#queues.set(id, queue);
    const same = this.#mergeable(queue, job);
    if (same) {
      if (job.merge === 'last') same.run = job.run;
      return same.done;
    }
    if (queue.waiting.length >= WAITING_MAX) {
      console.warn('diffyne: a call too many is dropped');
      return Promise.resolve();
    }
    job.done = new Promise((resolve) => { job.settle = resolve; });
    queue.waiting.push(job);
    if (queue.running?.yields) {
      queue.running.isOvertaken = true;
      queue.running = null;
    }
    this.#next(id, queue);
    return job.done;
  }

  // The job that runs now.
  running(id) {
    return this.#queues.get(id)?.running ?? null;
  }

  isBusy(id) {
    return this.#queues.has(id);
  }

  // The component is gone: what waits for it need not run.
  drop(id) {
    for (const job of this.#queues.get(id)?.waiting.splice(0) ?? []) job.settle();
  }

  #mergeable({ waiting }, { merge, key }) {
    if (merge === 'last') return waiting.at(-1)?.key === key ? waiting.at(-1) : undefined;
    return merge === 'any' ? waiting.find((job) => job.merge === 'any' && job.key === key) : undefined;
  }

  async #next(id, queue) {
    if (queue.running) return;
    const job = queue.waiting.shift();
    if (!job) {
      this.#queues.delete(id);
      return;
    }
    queue.running = job;
    try {
      await job.run(job);
    } catch (error) {
      console.error('diffyne:', error);
    }
    job.settle();
    if (queue.running !== job) return;
    queue.running = null;
    this.#next(id, queue);
  }
}
