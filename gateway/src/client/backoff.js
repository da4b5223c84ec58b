// How long to wait before the next try: a random part of a ceiling that doubles (full jitter), so that thousands of
// pages whose server went away do not come back in the same moment.

export class Backoff {
  constructor(firstMs = 1_000, lastMs = 30_000) {
    this.firstMs = firstMs;
    this.lastMs = lastMs;
    this.reset();
  }

  reset() {
    this.ceilingMs = this.firstMs;
  }

  next() {
    const waitMs = Math.random() * this.ceilingMs;
    this.ceilingMs = Math.min(this.ceilingMs * 2, this.lastMs);
    return waitMs;
  }
}
