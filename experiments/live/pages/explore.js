"use strict";
// The page of `python -m experiments.explore`: cards, one clip frame by frame, curves; it looks again every few seconds.

const PAGE = 12;
const state = { about: null, looking: false, lists: 0, shown: 0, clips: new Map(), open: null, curves: null,
  events: new Map() };  // arm -> names of events in its clips, and the cycle of which

async function ask(path, query = {}) {
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer;
}

async function clipOf(arm, name) {
  const key = `${arm}/${name}/${armOf(arm)?.cycle}`;
  if (!state.clips.has(key)) {
    if (state.clips.size > 60) state.clips.delete(state.clips.keys().next().value);
    state.clips.set(key, ask("/api/clip", { arm, name }).then((answer) => answer.arrayBuffer()).then(cut));
  }
  return state.clips.get(key);
}

function cut(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const size = header.height * header.width * 3, arrows = header.arrows[0] * header.arrows[1] * 2;
  let at = 4 + length;
  const take = (bytes, Kind = Uint8Array) => { const part = new Kind(buffer, at, bytes); at += bytes; return part; };
  return { ...header, real: take(header.frames * size), before: take(header.dreamt * size), after: take(header.dreamt * size),
    realFlow: take(header.dreamt * arrows, Int8Array), afterFlow: take(header.dreamt * arrows, Int8Array), size };
}

function armOf(name) { return state.about.arms.find((arm) => arm.name === name); }

async function look() {
  if (state.looking) return;  // the last look is not answered yet
  state.looking = true;
  try {
    const before = state.about;
    state.about = await (await ask("/api/run")).json();
    element("title").textContent = state.about.title;
    const cycles = (about) => about?.arms.map((arm) => `${arm.name} ${arm.cycle}`).join();
    if (cycles(before) !== cycles(state.about)) { choices(); await list(true); }
    for (const id of ["filters", "order-of-pictures"]) element(id).hidden = !state.about.arms.length;  // nothing to choose
    element("status").textContent = state.about.arms.length
      ? state.about.arms.map((arm) => `${arm.name}: cycle ${arm.cycle}`).join(", ") : "no arm has saved a cycle yet";
    state.curves = await (await ask("/api/curves")).json();
    figures();
  } catch (error) { element("status").textContent = error.message || "the server does not answer"; }
  state.looking = false;
}

function options(id, values, words = String) {
  const select = element(id), kept = select.value;
  select.replaceChildren(...values.map((value) => new Option(words(value), value)));
  if (values.map(String).includes(kept)) select.value = kept;
}

function choices() {
  options("arm", state.about.arms.map((arm) => arm.name));
  const arm = armOf(element("arm").value);
  if (!arm) return;
  options("sort", arm.columns);
  options("mode", ["", ...arm.modes], (mode) => mode || "any");
  options("cycle", ["", ...arm.cycles], (cycle) => ({ "": "any", brought: "none: brought" })[cycle] ?? cycle);
  options("event", ["", ...(state.events.get(arm.name) ?? [])], (event) => event.replaceAll("_", " ") || "any");
  element("event").parentElement.hidden = !state.events.has(arm.name);
  element("find-events").hidden = !state.about.playable || state.events.get(arm.name)?.cycle === arm.cycle;
}

async function findEvents() {  // the server acts the clips again, where they began
  const arm = armOf(element("arm").value), button = element("find-events");
  button.disabled = true;
  button.textContent = "Acting them again …";
  try {
    const events = await (await ask("/api/events", { arm: arm.name })).json();
    state.events.set(arm.name, Object.assign(events, { cycle: arm.cycle }));
    state.clips.clear();  // their events were not known yet
    choices();
    await list(true);
  } catch (error) { element("status").textContent = error.message; }
  button.disabled = false;
  button.textContent = "Find events";
}

async function list(anew) {
  const arm = element("arm").value;
  if (!arm) return;
  const mine = ++state.lists;
  if (anew) state.shown = 0;
  const query = { arm, sort: element("sort").value, order: element("order").value, mode: element("mode").value,
    cycle: element("cycle").value, event: element("event").value, offset: state.shown, limit: PAGE };
  const { count, cards } = await (await ask("/api/cards", query)).json();
  if (mine !== state.lists) return;  // another list was asked for meanwhile
  if (anew) element("cards").replaceChildren();
  state.shown += cards.length;
  element("more").hidden = state.shown >= count;
  for (const card of cards) element("cards").append(cardOf(arm, card));
}

function cardOf(arm, card) {
  const item = document.createElement("li"), button = document.createElement("button");
  const pictures = document.createElement("span"), words = document.createElement("span");
  pictures.className = "pictures"; words.className = "words";
  const canvases = ["real", "before", "after", "error"].map((name) => {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", name);
    pictures.append(canvas);
    return canvas;
  });
  words.textContent = `${Object.entries(card.columns).map(([name, value]) => `${name} ${value}`).join("  ·  ")}  ·  ${card.mode.replaceAll("+", " + ")}`
    + (card.by ? `  ·  found by ${card.by}` : "") + (card.events.length ? `  ·  ${card.events.join(", ").replaceAll("_", " ")}` : "");
  button.append(pictures, words); item.append(button);
  button.addEventListener("click", () => open(arm, card.name));
  clipOf(arm, card.name).then((clip) => { item.clip = clip; item.canvases = canvases; draw(clip, clip.frames - 1, canvases); })
    .catch((error) => { words.textContent = error.message; });
  return item;
}

function draw(clip, frame, [real, before, after, error]) {
  const { height, width, size } = clip, seen = clip.frames - clip.dreamt, dreamt = frame - seen;
  drawFrame(real, clip.real, frame * size, height, width);
  for (const [canvas, pictures] of [[before, clip.before], [after, clip.after]]) {
    drawFrame(canvas, dreamt < 0 ? clip.real : pictures, (dreamt < 0 ? frame : dreamt) * size, height, width);
  }
  const wrong = new Uint8Array(size);
  if (dreamt >= 0) for (let i = 0; i < size; i++) wrong[i] = Math.abs(clip.real[frame * size + i] - clip.after[dreamt * size + i]);
  drawFrame(error, wrong, 0, height, width);
}

function flow(canvas, clip, vectors, frame) {
  const dreamt = frame - (clip.frames - clip.dreamt);
  if (dreamt < 0 || element("arrows").getAttribute("aria-pressed") !== "true") return;
  const big = 5, [rows, columns] = clip.arrows, source = document.createElement("canvas");
  source.width = canvas.width; source.height = canvas.height;
  source.getContext("2d").drawImage(canvas, 0, 0);
  canvas.width *= big; canvas.height *= big;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(source, 0, 0, canvas.width, canvas.height);
  pen.lineWidth = 2;
  for (const colour of ["#000", "#ffe14d"]) {
    pen.strokeStyle = colour; pen.lineWidth = colour === "#000" ? 4 : 2;
    pen.beginPath();
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
      const at = ((dreamt * rows + r) * columns + c) * 2, x = (c + 0.5) * clip.every * big, y = (r + 0.5) * clip.every * big;
      const dx = (vectors[at] / 4) * big, dy = (vectors[at + 1] / 4) * big;
      if (dx * dx + dy * dy < 9) continue;
      pen.moveTo(x - dx, y - dy); pen.lineTo(x, y); pen.arc(x, y, 2, 0, 7);
    }
    pen.stroke();
  }
}

async function open(arm, name) {
  const clip = await clipOf(arm, name);
  state.open = clip;
  element("opened-title").textContent = `${arm}: ${clip.mode.replaceAll("+", " + ")}`;
  element("frame").max = clip.frames - 1;
  element("frame").value = 0;
  element("o-events").textContent = clip.events.length ? `Events: ${clip.events.join(", ").replaceAll("_", " ")}` : "";
  element("o-columns").textContent = Object.entries(clip.columns).map(([key, value]) => `${key}: ${value}`).join(" · ")
    + (clip.by ? ` · found by ${clip.by}: where it began is not known here` : "")
    + (state.about.playable ? "" : " · one cannot play on from here: this environment's state cannot be set");
  element("o-history").querySelector("tbody").replaceChildren(...clip.history.map((row) => {
    const line = document.createElement("tr");
    for (const value of row) { const cell = document.createElement("td"); cell.textContent = value; line.append(cell); }
    return line;
  }));
  element("from-here").href = `/play?${new URLSearchParams({ arm, name })}`;
  element("from-here").hidden = !state.about.playable || Boolean(clip.by);
  if (!element("opened").open) element("opened").showModal();
  showFrame();
}

function showFrame() {
  const clip = state.open;
  if (!clip) return;
  const frame = Number(element("frame").value), canvases = ["real", "before", "after", "error"].map((name) => element(`o-${name}`));
  draw(clip, frame, canvases);
  flow(canvases[0], clip, clip.realFlow, frame);
  flow(canvases[2], clip, clip.afterFlow, frame);
  const seen = clip.frames - clip.dreamt;
  element("frame-shown").textContent = `${frame + 1} of ${clip.frames}${frame < seen ? ", context" : ""}`;
  element("o-action").textContent = `Action: ${clip.actions[frame]}`;
  timeline(clip, frame);
}

function timeline(clip, now) {
  const names = [...new Set(clip.actions.flatMap((words) => words.split(", ").map((word) => word.replace(/ [-+][\d.]+$/, ""))))];
  const canvas = element("o-timeline"), cell = 16, start = 76, ratio = devicePixelRatio;
  canvas.width = canvas.clientWidth * ratio; canvas.height = (names.length * cell + 4) * ratio;
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), step = (canvas.clientWidth - start) / clip.frames;
  pen.scale(ratio, ratio);
  pen.font = "12px system-ui, sans-serif"; pen.textBaseline = "middle";
  names.forEach((name, row) => {
    pen.fillStyle = style.getPropertyValue("--ink"); pen.fillText(name, 0, row * cell + cell / 2);
    clip.actions.forEach((words, frame) => {
      if (!words.split(", ").some((word) => word === name || word.startsWith(`${name} `))) return;
      pen.fillStyle = style.getPropertyValue("--accent");
      pen.fillRect(start + frame * step + 1, row * cell + 2, step - 2, cell - 4);
    });
  });
  pen.strokeStyle = style.getPropertyValue("--ink");
  pen.strokeRect(start + now * step, 0.5, step, names.length * cell);
}

function figures() {
  const names = [...new Set(Object.values(state.curves).flatMap((metrics) => Object.keys(metrics)))].sort();
  const kept = element("figure").value;
  options("figure", names);
  if (!kept) element("figure").value = ["regret", "loss"].find((name) => names.includes(name)) ?? names[0] ?? "";
  curve();
}

function curve() {
  const name = element("figure").value, lines = Object.entries(state.curves ?? {}).filter(([, metrics]) => metrics[name]);
  const canvas = element("curve"), ratio = devicePixelRatio, width = canvas.clientWidth, height = 220;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  pen.scale(ratio, ratio);
  const points = lines.flatMap(([, metrics]) => metrics[name]);
  if (!points.length) return;
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const px = (x) => 56 + ((x - x0) / (x1 - x0 || 1)) * (width - 66), py = (y) => height - 24 - ((y - y0) / (y1 - y0 || 1)) * (height - 40);
  pen.font = "12px system-ui, sans-serif"; pen.fillStyle = style.getPropertyValue("--ink");
  pen.fillText(y1.toPrecision(3), 0, 20); pen.fillText(y0.toPrecision(3), 0, height - 24);
  pen.fillText(x0, 56, height - 6); pen.textAlign = "right"; pen.fillText(x1, width - 4, height - 6);
  const colours = [style.getPropertyValue("--accent"), style.getPropertyValue("--dream"), style.getPropertyValue("--alarm"), style.getPropertyValue("--quiet")];
  lines.forEach(([, metrics], i) => {
    pen.strokeStyle = pen.fillStyle = colours[i % colours.length]; pen.lineWidth = 2; pen.setLineDash(i >= 4 ? [5, 4] : []);
    pen.beginPath();
    metrics[name].forEach(([x, y], j) => (j ? pen.lineTo(px(x), py(y)) : pen.moveTo(px(x), py(y))));
    pen.stroke();
    if (metrics[name].length < 20) for (const [x, y] of metrics[name]) pen.fillRect(px(x) - 2, py(y) - 2, 5, 5);
  });
  const names = ["green", "violet", "red", "grey"];
  const last = (points) => `${points.at(-1)[1].toPrecision(3)} after ${points.at(-1)[0]}`;
  element("legend").textContent = lines
    .map(([where, metrics], i) => `${names[i % 4]}${i >= 4 ? ", dashed" : ""}: ${where}, ${last(metrics[name])}`).join(" · ");
}

function pressed(id) { return element(id).getAttribute("aria-pressed") === "true"; }
for (const id of ["sort", "order", "mode", "cycle", "event"]) element(id).addEventListener("change", () => list(true));
element("arm").addEventListener("change", () => { choices(); list(true); });
element("filters").addEventListener("submit", (event) => event.preventDefault());
element("find-events").addEventListener("click", findEvents);
element("more").addEventListener("click", () => list(false));
element("figure").addEventListener("change", curve);
element("close").addEventListener("click", () => element("opened").close());
element("opened").addEventListener("close", () => { state.open = null; });
element("frame").addEventListener("input", () => { element("run").setAttribute("aria-pressed", "false"); showFrame(); });
for (const id of ["run", "arrows"]) {
  element(id).addEventListener("click", () => { element(id).setAttribute("aria-pressed", String(!pressed(id))); showFrame(); });
}
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
if (still) element("run").setAttribute("aria-pressed", "false");
let beat = 0;
setInterval(() => {
  if (document.hidden) return;
  beat += 1;
  if (state.open && pressed("run")) { element("frame").value = (Number(element("frame").value) + 1) % state.open.frames; showFrame(); }
  if (!state.open && !still) for (const item of element("cards").children) if (item.clip) draw(item.clip, beat % item.clip.frames, item.canvases);
}, 200);
look();
setInterval(() => { if (!document.hidden) look(); }, 5000);
