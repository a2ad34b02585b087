// Computes frames of a dream, beside the page, with ONNX Runtime in WebAssembly.
// {id, steps} makes ready to dream in so many Euler steps; {id, steps, noise, frames, actions} dreams a frame.

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";

// One thread: several share memory, which a browser allows on pages with COOP and COEP headers only, and where other
// programs kept the cores busy two were slower than one.
ort.env.wasm.wasmPaths = { wasm: new URL("./runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const made = new Map();

async function bytes(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is not there (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

function once(name, make) {
  if (!made.has(name)) made.set(name, make());
  return made.get(name);
}

function session(steps) {
  return once(steps, async () => {
    const [graph, data] = await Promise.all([bytes(`frame_${steps}.onnx`), once("weights", () => bytes("weights.bin"))]);
    return ort.InferenceSession.create(graph, {
      executionProviders: ["wasm"], externalData: [{ path: "weights.bin", data }],
    });
  });
}

async function answer({ steps, noise, frames, actions }) {
  const dreamer = await session(steps);
  if (!noise) return {};
  const began = performance.now();
  const about = await once("about", async () => JSON.parse(new TextDecoder().decode(await bytes("about.json"))));
  const { frame } = await dreamer.run({
    noise: new ort.Tensor("float32", noise, about.noise),
    frames: new ort.Tensor("uint8", frames, [1, about.context, about.height, about.width, 3]),
    actions: new ort.Tensor("int32", actions, [1, about.context, about.factors.length]),
  });
  return { frame: frame.data, ms: performance.now() - began };
}

onmessage = async ({ data }) => {
  try {
    postMessage({ id: data.id, ...await answer(data) });
  } catch (error) {
    postMessage({ id: data.id, error: String(error?.message ?? error).split("\n")[0] });
  }
};
