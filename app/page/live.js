// Answers while drawing: one request under way at a time, and the newest drawing next.

export class Live {
  /** `ask()` gives an answer, or null when there is nothing to ask; `show(answer)` paints it. */
  constructor(ask, show, fail) {
    this.ask = ask;
    this.show = show;
    this.fail = fail;
    this.since = null; // moment of the first change that no request has taken along yet
    this.busy = false;
  }

  changed(time = performance.now()) {
    this.since ??= time;
    if (!this.busy) this.#run();
  }

  async #run() {
    this.busy = true;
    while (this.since !== null) {
      const start = this.since;
      this.since = null;
      try {
        const answer = await this.ask();
        if (this.since !== null && answer === null) continue;
        this.show(answer);
        if (answer) performance.measure("leo-answer", { start, end: performance.now() });
      } catch (error) {
        this.fail(error);
      }
    }
    this.busy = false;
  }
}
