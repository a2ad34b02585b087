"use strict";
// The page of `python -m experiments.export_web`: the dream alone, computed in this browser (dreamer.js).

// A module with one instruction of WebAssembly's SIMD, i8x16.splat: valid where a browser has it.
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11]);
const CARRIED = 90;  // degrees that a fast mouse may be ahead of the camera
const page = { dreamer: null, hands: null, about: null, steps: 0, dreamt: 0, paused: false, times: [], work: [], latency: [], stamp: 0 };

// Keys that are held, and a camera that moved: an action for every frame, as experiments/live/others.py makes it.
class Hands {
  constructor(factors) { this.factors = factors; this.held = {}; this.turn = {}; this.moved = {}; this.stamp = 0; }

  heed(act) {
    this.held = act.held; this.turn = act.turn; this.stamp = act.stamp;
    for (const [name, degrees] of Object.entries(act.camera)) this.moved[name] = bounded((this.moved[name] ?? 0) + degrees);
  }

  next() {
    return this.factors.map(({ name, degrees, null: still }) => {
      if (!degrees) return this.held[name] ?? still;
      const wanted = (this.moved[name] ?? 0) + (this.turn[name] ?? 0);
      const far = (i) => Math.abs(degrees[i] - wanted);
      const bin = degrees.reduce((best, _, i) => (far(i) < far(best) ? i : best), still);
      this.moved[name] = bounded(wanted - degrees[bin]);  // bins are coarse: what one does not turn, others do
      return bin;
    });
  }
}

function bounded(degrees) { return Math.max(-CARRIED, Math.min(CARRIED, degrees)); }
function status(text) { element("status").textContent = text; }

function cannot(why) {
  element("left").textContent = why;
  element("left").hidden = false;
  status("it does not dream here");
  element("stage").hidden = !page.about;
  for (const control of document.querySelectorAll("button, select, input")) control.disabled = true;
}

async function start() {
  if (location.protocol === "file:") {
    cannot("A browser runs no worker from a file. Serve this folder: python -m http.server --bind 127.0.0.1, then open http://127.0.0.1:8000.");
    return;
  }
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD)) {
    cannot("This browser has no WebAssembly SIMD, which the dream is computed with. Chrome and Edge from 91, Firefox from 89 and Safari from 16.4 have it.");
    return;
  }
  status("loading the places");
  const about = await (await fetched("about.json")).json();
  const contexts = new Uint8Array(await (await fetched("contexts.bin")).arrayBuffer());
  page.about = about;
  page.hands = new Hands(about.factors);
  page.dreamer = new Dreamer(about, contexts);
  element("title").textContent = about.title;
  fill("place", about.places.map((_, i) => [i + 1, i]), 0);
  fill("steps", about.steps.map((steps) => [steps, steps]), about.own_steps);
  makeHands(about.factors, (act) => page.hands.heed(act), element("stage"), element("touch"), element("keys"));
  tellKeys(element("keys"), [["R", "begin again"], ["N", "new place"], ["P", "pause"]]);
  element("stage").focus({ preventScroll: true });
  begin();
  await choose(about.own_steps);
  await play();
}

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is not there (${answer.status})`);
  return answer;
}

function fill(id, options, chosen) {
  element(id).replaceChildren(...options.map(([text, value]) => new Option(text, value)));
  element(id).value = String(chosen);
}

function begin() {
  const frame = page.dreamer.begin(Number(element("place").value), Number(element("seed").value));
  page.dreamt = 0;
  show(frame);
}

async function choose(steps) {
  status(`loading the model for ${steps} Euler step${steps > 1 ? "s" : ""}`);
  await page.dreamer.ready(steps);
  if (Number(element("steps").value) !== steps) return;  // another number was chosen meanwhile
  page.steps = steps;
  page.times = []; page.work = []; page.latency = [];
  status(page.paused ? "paused" : "dreaming");
}

function show(frame) {
  drawFrame(element("dream"), frame, 0, page.about.height, page.about.width);
  element("f-dreamt").textContent = page.dreamt;
}

async function play() {
  let due = performance.now();
  for (;;) {
    while (page.paused || document.hidden) { await sleep(50); due = performance.now(); page.times = []; }
    const stamp = page.hands.stamp, begun = page.dreamer.noise;
    const { frame, ms } = await page.dreamer.next(page.steps, page.hands.next(), Number(element("temperature").value));
    if (page.dreamer.noise === begun) { page.dreamt += 1; show(frame); figures(ms, stamp); }
    due = Math.max(due + 1000 / page.about.second, performance.now() - 500);
    await sleep(Math.max(0, due - performance.now()));
  }
}

function sleep(ms) { return new Promise((resolve) => setTimeout(resolve, ms)); }

function figures(ms, stamp) {
  const now = performance.now();
  kept(page.times, now); kept(page.work, ms);
  if (stamp !== page.stamp) { page.stamp = stamp; kept(page.latency, now - stamp); }
  const span = now - page.times[0];
  if (span) element("f-fps").textContent = (1000 * (page.times.length - 1) / span).toFixed(1);
  if (page.latency.length) element("f-latency").textContent = median(page.latency).toFixed(0);
  element("f-ms").textContent = median(page.work).toFixed(0);
}

function kept(values, value) { values.push(value); if (values.length > 30) values.shift(); }
function median(values) { return [...values].sort((a, b) => a - b)[values.length >> 1]; }

const DO = {
  again: begin,
  "place-next": () => { element("place").value = String((Number(element("place").value) + 1) % page.about.places.length); begin(); },
  pause: () => {
    page.paused = !page.paused;
    element("pause").setAttribute("aria-pressed", String(page.paused));
    status(page.paused ? "paused" : "dreaming");
  },
};
const SHORT = { KeyR: "again", KeyN: "place-next", KeyP: "pause" };
function act(name) { if (page.steps) DO[name](); }
for (const id of Object.keys(DO)) element(id).addEventListener("click", () => act(id));
addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, select, textarea")) return;
  if (SHORT[event.code]) act(SHORT[event.code]);
});
element("settings").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["place", "seed"]) element(id).addEventListener("change", () => act("again"));
element("steps").addEventListener("change", (event) => choose(Number(event.target.value)).catch((error) => cannot(error.message)));
element("temperature").addEventListener("input", (event) => {
  element("temperature-shown").textContent = Number(event.target.value).toFixed(2);
});
start().catch((error) => cannot(`It cannot dream: ${error.message}`));
