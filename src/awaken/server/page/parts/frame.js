/** Drawing at most once for each picture the screen shows, however fast the events come. */
export class Frame {
  #asked = false;

  constructor(draw, signal) {
    Object.assign(this, { draw, signal });
  }

  ask() {
    if (this.#asked) return;
    this.#asked = true;
    const go = () => {
      this.#asked = false;
      if (!this.signal.aborted) this.draw();
    };
    // Without a screen there are no frames: a tab in the background draws all the same.
    if (document.hidden) setTimeout(go, 200);
    else requestAnimationFrame(go);
  }
}
