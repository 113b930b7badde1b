/** For each part of the time that drawing takes, so many parts for everything else. */
const REST = 5;

/**
 * Drawing at most once for each picture the screen shows, however fast the events come; and less often
 * where there is so much that drawing takes long.
 */
export class Frame {
  #asked = false;
  #tookMs = 0;

  constructor(draw, signal) {
    Object.assign(this, { draw, signal });
  }

  ask() {
    if (this.#asked) return;
    this.#asked = true;
    // Without a screen there are no frames: a tab in the background draws all the same.
    if (document.hidden) setTimeout(() => this.#go(), 200);
    else if (this.#tookMs > 10) setTimeout(() => this.#go(), REST * this.#tookMs);
    else requestAnimationFrame(() => this.#go());
  }

  #go() {
    this.#asked = false;
    if (this.signal.aborted) return;
    const began = performance.now();
    this.draw();
    this.#tookMs = performance.now() - began;
  }
}
