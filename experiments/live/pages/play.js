"use strict";
// The page of `python -m experiments.play`: pictures as they come, figures, settings, the hunt.

const state = { hello: null, strip: [], read: new Map(), latency: [], last: 0, cost: new Map(), heat: false };
const send = openSocket(`/socket${location.search}`, {
  state: (text) => { element("status").textContent = text; },
  json: (message) => ({ hello, wait, failed, bad, hunt })[message.type]?.(message),
  binary: (header, bytes) => (header.type === "picture" ? picture(header, bytes)
    : saveFile(header.name, header.kind, bytes)),
});

function wait(message) { element("status").textContent = `${message.says}, ${message.seconds} s`; }
function failed(message) { element("status").textContent = message.says; }
function bad(message) { element("status").textContent = message.says; }

function hello(message) {
  state.hello = message;
  element("title").textContent = message.title
    + (message.elsewhere ? "; another place: where that clip began cannot be made again" : "");
  document.title = `Real beside dream: ${message.title}`;
  makeOnce(message);
  for (const name of ["steps", "context_noise", "cache", "best_of"]) fill(name, message.choices[name]);
  fill("third-choice", message.thirds);
  fill("map", message.maps);
  element("strip-note").textContent = message.judge ? "above, green: pressed; below, violet: read off the dream" : "";
}

let made = false;
function makeOnce(message) {
  if (made) return;
  made = true;
  makeHands(message.factors, send, element("stage"), element("touch"), element("keys"));
  tellKeys(element("keys"), [["R", "resync"], ["H", "hold reality"], ["P", "pause"], ["N", "new place"],
    ["E", "error map"], ["C", "record"], ["G", "hunt"]]);
  element("stage").focus({ preventScroll: true });
}

function fill(id, values) {
  const select = element(id), kept = select.value;
  select.replaceChildren(...values.map((value) => new Option(value === "" ? "as the network does" : value, value)));
  if (values.map(String).includes(kept)) select.value = kept;
  select.hidden = values.length < 2;  // nothing to choose
  document.querySelector(`label[for="${id}"]`).hidden = select.hidden;
}

function picture(header, bytes) {
  const { height, width } = state.hello, size = height * width * 3;
  const at = {};
  header.panels.forEach((name, i) => { at[name] = i * header.frames * size; });
  for (let frame = 0; frame < header.frames; frame++) {
    setTimeout(() => show(header, bytes, at, frame * size, height, width), (1000 / 20) * frame);
  }
  element("third-figure").hidden = header.third === "none";
  element("third-name").textContent = header.third.toUpperCase();
  figures(header);
  strip(header);
  send({ type: "seen", tick: header.tick });
}

function show(header, bytes, at, offset, height, width) {
  for (const name of ["real", "dream", "third"]) {
    if (at[name] !== undefined) drawFrame(element(name), bytes, at[name] + offset, height, width);
  }
  if (state.heat && at.dream !== undefined) {
    const seen = at.expected === undefined;  // else a head's map stands there: its distance from black
    heat(bytes, (seen ? at.real : at.expected) + offset, seen ? at.dream + offset : undefined, height, width);
  }
  if (header.stamp && header.stamp !== state.last) {
    state.last = header.stamp;
    state.latency.push(performance.now() - header.stamp);
    if (state.latency.length > 30) state.latency.shift();
    const sorted = [...state.latency].sort((a, b) => a - b);
    element("f-latency").textContent = sorted[sorted.length >> 1].toFixed(0);
  }
}

function heat(bytes, real, dream, height, width) {
  const canvas = element("heat");
  if (canvas.width !== width) { canvas.width = width; canvas.height = height; }
  const picture = new ImageData(width, height), data = picture.data;
  for (let i = 0, j = 0; i < data.length; i += 4, j += 3) {
    const apart = (k) => (dream === undefined ? bytes[real + k] : Math.abs(bytes[real + k] - bytes[dream + k]));
    const error = Math.max(apart(j), apart(j + 1), apart(j + 2)) / 255;
    const hot = Math.min(1, 2 * error);
    data[i] = 255 * Math.min(1, 2 * hot); data[i + 1] = 255 * Math.max(0, 2 * hot - 1); data[i + 2] = 60 * (1 - hot);
    data[i + 3] = 255 * Math.min(1, 0.1 + 1.5 * hot);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function figures(header) {
  const f = header.figures;
  element("f-regret").textContent = f.regret?.toFixed(3) ?? "–";
  element("f-epe").textContent = f.epe?.toFixed(2) ?? "–";
  element("f-sharpness").textContent = f.sharpness?.toFixed(2) ?? "–";
  element("f-fps").textContent = header.fps?.toFixed(1) ?? "–";
  element("f-ms").textContent = header.ms.toFixed(0);
  element("left").hidden = !f.left || header.holding;
  element("events").textContent = header.events.join(", ") || "\u00a0";
  const s = header.sampling;
  if (JSON.stringify(s) !== state.sampling) { state.sampling = JSON.stringify(s); state.latency = []; }
  for (const name of ["steps", "context_noise", "cache", "best_of"]) {
    if (document.activeElement !== element(name) && !header.asked) element(name).value = String(s[name]);
  }
  const label = `${s.steps} step${s.steps > 1 ? "s" : ""}${s.context_noise ? `, noise ${s.context_noise}` : ""}${s.cache ? `, ${s.cache}` : ""}${s.best_of > 1 ? `, best of ${s.best_of}` : ""}`
    + `${header.third !== "none" ? ", third picture" : ""}`;
  state.cost.set(label, `${label}: ${header.ms.toFixed(0)} ms${header.fps ? `, ${header.fps.toFixed(0)} a second` : ""}`);
  element("cost").textContent = (header.asked ? "compiling what you chose … " : "") + [...state.cost.values()].slice(-4).join("; ");
  pressed("hold", header.holding);
  pressed("record", header.recording);
  element("record").textContent = header.recording ? `Recording ${(header.recorded / 20).toFixed(0)} s` : "Record";
  for (const id of ["webp", "mp4"]) element(id).disabled = !header.recorded;
  element("status").textContent = header.holding ? "reality is held, the dream goes on" : "playing";
}

function strip(header) {
  state.strip.push({ tick: header.tick, held: header.held });
  if (state.strip.length > 100) state.read.delete(state.strip.shift().tick);
  for (const [tick, action] of header.read) state.read.set(tick, action);
  const factors = state.hello.factors, canvas = element("strip"), rows = factors.length, cell = state.hello.judge ? 24 : 14, columns = 100;
  const ratio = devicePixelRatio, width = canvas.clientWidth * ratio, height = rows * cell * ratio;
  if (canvas.width !== Math.round(width)) { canvas.width = Math.round(width); canvas.height = Math.round(height); }
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const [ink, line, accent, dream] = ["--ink", "--line", "--accent", "--dream"].map((name) => style.getPropertyValue(name));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle";
  const start = 64, step = (canvas.clientWidth - start) / columns;
  factors.forEach((factor, row) => {
    pen.fillStyle = ink; pen.fillText(factor.name, 0, row * cell + cell / 2);
    pen.fillStyle = line; pen.fillRect(start, row * cell + cell / 2, canvas.clientWidth - start, 1);
    const lanes = state.hello.judge ? [[accent, 0, ({ held }) => held], [dream, 1, ({ tick }) => state.read.get(tick)]]
      : [[accent, 0, ({ held }) => held]];
    const lane = cell / lanes.length;
    for (const [colour, number, of] of lanes) {
      pen.fillStyle = colour;
      const middle = row * cell + number * lane + lane / 2;
      state.strip.forEach((entry, i) => {
        const action = of(entry), value = action ? action[row] - factor.null : 0;
        if (!value) return;
        const { size, up } = bar(factor, action[row], value);
        const tall = (lane / 2 - 1) * Math.max(0.3, size);
        pen.fillRect(start + (columns - state.strip.length + i) * step, middle - (up ? tall : 0), Math.max(1, step), tall);
      });
    }
  });
}

// How tall a value stands, as a share, and whether upwards: turns and numbers by how far they go, of two names the first
// goes up, and of many names each has a height of its own.
function bar(factor, chosen, value) {
  const names = factor.labels.length;
  if (factor.degrees) return { size: Math.min(1, Math.abs(value) / (factor.degrees.length >> 1)), up: value < 0 };
  if (names > 3 && factor.labels.every((label) => /^[+-]\d/.test(label))) {
    const number = Number(factor.labels[chosen]), most = Math.max(...factor.labels.map((label) => Math.abs(Number(label))));
    return { size: Math.abs(number) / most, up: number > 0 };
  }
  return { size: names > 3 ? (chosen + 1) / names : 1, up: names === 3 ? chosen === 1 : true };
}

function hunt(message) {
  element("finds").disabled = false;
  const score = message.score === null ? "not yet measured" : message.score.toFixed(2);
  element("score").textContent = `last second: score ${score}, regret ${message.regret.toFixed(3)}, flow ${message.afs.toFixed(2)} px`
    + `${message.kept ? " — kept" : ""}; measured by ${message.measure}`;
  const body = element("board").querySelector("tbody");
  body.replaceChildren(...message.board.map((row) => {
    const line = document.createElement("tr");
    for (const text of [row.who, row.regret.toFixed(3), row.best === null || row.best === undefined ? "–" : row.best.toFixed(2)]) {
      const cell = document.createElement("td"); cell.textContent = text; line.append(cell);
    }
    return line;
  }));
  element("board").hidden = false;
}

function pressed(id, on) { element(id).setAttribute("aria-pressed", String(on)); }
function toggle(id) {
  const on = element(id).getAttribute("aria-pressed") !== "true";
  pressed(id, on);
  return on;
}
const DO = {
  resync: () => send({ type: "resync" }),
  hold: () => send({ type: "hold", on: toggle("hold") }),
  pause: () => { const on = toggle("pause"); send({ type: "pause", on }); if (on) element("status").textContent = "paused"; },
  restart: () => send({ type: "restart" }),
  error: () => { state.heat = toggle("error"); element("heat").hidden = !state.heat; },
  record: () => send({ type: "record", on: toggle("record") }),
  webp: () => send({ type: "clip", format: "webp" }),
  mp4: () => send({ type: "clip", format: "mp4" }),
  hunt: () => {
    const on = toggle("hunt");
    send({ type: "hunt", on });
    if (on && element("board").hidden) element("score").textContent = "compiling what scores a second; the first score comes after that";
  },
  finds: () => send({ type: "finds" }),
};
for (const [id, act] of Object.entries(DO)) element(id).addEventListener("click", act);
const SHORT = { KeyR: "resync", KeyH: "hold", KeyP: "pause", KeyN: "restart", KeyE: "error", KeyC: "record", KeyG: "hunt" };
addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, select, textarea")) return;
  DO[SHORT[event.code]]?.();
});
document.addEventListener("visibilitychange", () => {
  if (element("pause").getAttribute("aria-pressed") !== "true") send({ type: "pause", on: document.hidden });
});
element("settings").addEventListener("submit", (event) => event.preventDefault());
for (const name of ["steps", "context_noise", "best_of"]) {
  element(name).addEventListener("change", (event) => send({ type: "set", name, value: Number(event.target.value) }));
}
element("map").addEventListener("change", (event) => send({ type: "set", name: "map", value: event.target.value }));
element("cache").addEventListener("change", (event) => send({ type: "set", name: "cache", value: event.target.value }));
element("third-choice").addEventListener("change", (event) => send({ type: "set", name: "third", value: event.target.value }));
element("temperature").addEventListener("input", (event) => {
  element("temperature-shown").textContent = Number(event.target.value).toFixed(2);
  send({ type: "set", name: "temperature", value: Number(event.target.value) });
});
