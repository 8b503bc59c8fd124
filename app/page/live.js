// Asks again after every change: one request at a time, always about the newest drawing.

export class LiveAnswers {
  /** `ask()` resolves to an answer, or to null if there is nothing to ask. `show(answer)` and `fail(error)` show it. */
  constructor(ask, show, fail) {
    this.ask = ask;
    this.show = show;
    this.fail = fail;
    this.changedAt = null; // time of the first change that no request has carried yet
    this.asking = false;
  }

  changed(time = performance.now()) {
    this.changedAt ??= time;
    if (!this.asking) this.#run();
  }

  async #run() {
    this.asking = true;
    while (this.changedAt !== null) {
      const start = this.changedAt;
      this.changedAt = null;
      try {
        const answer = await this.ask();
        if (this.changedAt !== null && answer === null) continue; // ask about the newer drawing
        this.show(answer);
        if (answer) performance.measure("leo-answer", { start, end: performance.now() });
      } catch (error) {
        this.fail(error);
      }
    }
    this.asking = false;
  }
}
