"use strict";
// A dream in this browser: what it has seen last, its noise, and the worker that computes its frames.

class Dreamer {
  // about: about.json. contexts: Uint8Array of contexts.bin.
  constructor(about, contexts) {
    this.about = about;
    this.size = about.height * about.width * 3;
    this.contexts = contexts;
    this.asked = new Map();
    this.worker = new Worker("dreamer_worker.mjs", { type: "module" });
    this.worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.asked.get(data.id);
      this.asked.delete(data.id);
      if (data.error) reject(new Error(data.error)); else resolve(data);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      for (const { reject } of this.asked.values()) reject(new Error(event.message || "the worker does not start"));
      this.asked.clear();
    };
    this.count = 0;
  }

  ask(message) {
    return new Promise((resolve, reject) => {
      const id = this.count++;
      this.asked.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...message });
    });
  }

  // Resolves once a frame in so many Euler steps would not have to wait.
  ready(steps) { return this.ask({ steps }); }

  // A dream begins in a stored place: the same place, seed and actions are the same dream. Returns the last frame seen.
  begin(place, seed) {
    const seen = this.about.context * this.size;
    this.frames = this.contexts.slice(place * seen, (place + 1) * seen);
    this.led = this.about.places[place].map((action) => [...action]);
    this.noise = normals(seed);
    return this.frames.subarray(seen - this.size);
  }

  // Dreams the frame that an action leads to: {frame: Uint8Array [H, W, 3], ms}. noise: given by tests, else drawn.
  async next(steps, action, temperature = 1, noise = null) {
    const drawn = noise ?? this.draw(temperature), begun = this.frames;
    const actions = Int32Array.from([...this.led, action].flat());
    const { frame, ms } = await this.ask({ steps, noise: drawn, frames: this.frames, actions });
    if (this.frames === begun) {  // else another dream has begun meanwhile
      this.frames = begun.slice();
      this.frames.copyWithin(0, this.size);
      this.frames.set(frame, begun.length - this.size);
      this.led = [...this.led, action].slice(1);
    }
    return { frame, ms };
  }

  draw(temperature) {
    const noise = new Float32Array(this.about.noise.reduce((a, b) => a * b));
    for (let i = 0; i < noise.length; i++) noise[i] = temperature * this.noise();
    return noise;
  }
}

// Standard normal numbers from a seed: mulberry32 (Tommy Ettinger, public domain) and Box and Muller's two a pair.
function normals(seed) {
  let state = seed >>> 0, kept = null;
  function uniform() {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  return () => {
    if (kept !== null) { const value = kept; kept = null; return value; }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    kept = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}
