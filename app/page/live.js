// Asks again after every change: one request at a time, always about the newest drawing, and until there is an answer.

import { describe, pauseAfter, wait } from "./api.js";

export class LiveAnswers {
  /**
   * `ask()` resolves to an answer, or to null if there is nothing to ask. `show(answer)` shows it, `begin()` says that
   * the answer shown is no longer true, `delay(text)` why the next one takes long, or "", and `fail(error)` that there
   * will be none.
   */
  constructor({ ask, show, begin, delay, fail }) {
    Object.assign(this, { ask, show, begin, delay, fail });
    this.changedAt = null; // time of the first change that no request has carried yet
    this.asking = false;
  }

  changed(time = performance.now()) {
    this.changedAt ??= time;
    this.begin();
    if (!this.asking) this.#run();
  }

  async #run() {
    this.asking = true;
    let tries = 0;
    while (this.changedAt !== null) {
      const start = this.changedAt;
      this.changedAt = null;
      try {
        const answer = await this.ask();
        tries = 0;
        this.delay("");
        if (this.changedAt !== null && answer === null) continue; // ask about the newer drawing
        this.show(answer, this.changedAt === null);
        if (answer) performance.measure("leo-answer", { start, end: performance.now() });
      } catch (error) {
        if (error.temporary) {
          this.changedAt ??= start;
          const pause = pauseAfter(error, tries++);
          this.delay(describe(error, pause));
          await wait(pause);
        } else {
          this.fail(error);
        }
      }
    }
    this.asking = false;
  }
}
