"use strict";
// The reels of a report: their frames are cut out of one sheet each (experiments/report/reels.py).

const RESTS = 6;  // beats on the last frame before it begins again
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

const pressed = (button) => button.getAttribute("aria-pressed") === "true";
const press = (button, on) => button.setAttribute("aria-pressed", String(on));

class Reel {
  constructor(figure) {
    this.figure = figure;
    Object.assign(this, JSON.parse(figure.dataset.reel));  // size, columns, context, actions
    const one = (selector) => figure.querySelector(selector);
    [this.sheet, this.player, this.bar, this.shown, this.now, this.run] =
      [".sheet", ".player", "input", "output", ".now", ".run"].map(one);
    this.panels = [...figure.querySelectorAll(".panels div")];
    this.switches = [...figure.querySelectorAll(".switch button")];
    this.bar.max = this.actions.length - 1;
    this.rested = 0;
    this.onScreen = false;
    for (const canvas of figure.querySelectorAll("canvas")) [canvas.width, canvas.height] = this.size;
    this.bar.addEventListener("input", () => { this.running(false); this.show(); });
    this.run.addEventListener("click", () => this.running(!pressed(this.run)));
    for (const button of this.switches) button.addEventListener("click", () => this.beside(Number(button.dataset.panel)));
    this.sheet.decode().then(() => {
      this.sheet.hidden = true;
      this.player.hidden = false;
      this.running(!still);
      this.show();
    });
  }

  running(on) { press(this.run, on); }

  // One prediction beside the real frames, each in the same place as the others; 0: all of them.
  beside(panel) {
    for (const button of this.switches) press(button, Number(button.dataset.panel) === panel);
    this.panels.forEach((part, i) => { part.hidden = panel > 0 && i > 0 && i !== panel; });
    this.show();
  }

  beat() {
    if (this.player.hidden || !this.onScreen || !pressed(this.run)) return;
    const frame = Number(this.bar.value), last = frame === this.actions.length - 1;
    if (last && this.rested < RESTS) { this.rested += 1; return; }
    this.rested = 0;
    this.bar.value = last ? 0 : frame + 1;
    this.show();
  }

  show() {
    const frame = Number(this.bar.value), [width, height] = this.size, given = frame < this.context;
    const x = (frame % this.columns) * width, y = Math.floor(frame / this.columns) * this.panels.length * height;
    this.panels.forEach((part, panel) => {
      const pen = part.querySelector("canvas").getContext("2d");
      pen.drawImage(this.sheet, x, y + panel * height, width, height, 0, 0, width, height);
    });
    this.figure.classList.toggle("given", given);
    this.shown.textContent = `${frame + 1} of ${this.actions.length}, ${given ? "given" : "dreamt"}`;
    this.bar.setAttribute("aria-valuetext", this.shown.textContent);
    this.now.textContent = `Then: ${this.actions[frame]}`;
  }
}

const reels = [...document.querySelectorAll(".reel")].map((figure) => new Reel(figure));
const watch = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) reels.find(({ figure }) => figure === target).onScreen = isIntersecting;
});
for (const { figure } of reels) watch.observe(figure);
setInterval(() => reels.forEach((reel) => reel.beat()), 1000 / FRAMES_PER_SECOND);
