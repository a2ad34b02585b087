"use strict";
// The page of `python -m experiments.compare`: two dreams, a vote by key or button, then the next pair.

const FRAME = 50, END = 20;  // milliseconds a frame, at the speed of Minecraft; beats that the last one stays
const KEYS = { 1: "left", 2: "right", 0: "none" };
const state = { pair: null, voter: null, beats: 0 }, answers = document.querySelectorAll("[data-vote]");

const send = openSocket("/socket", { json: hear, binary: show, state: (words) => { if (words !== "connected") tell(words); } });

function tell(words) { element("status").textContent = words; }
function pressed(id) { return element(id).getAttribute("aria-pressed") === "true"; }

function hear(said) {
  if (said.type === "wait") tell(`${said.says}, ${Math.round(said.seconds)} s`);
  if (said.type === "failed" || said.type === "bad") { tell(said.says); open(said.type === "bad"); }
  if (said.type === "hello") hello(said);
  if (said.type === "result") result(said.tables);
  if (said.type === "done") {
    tell(`all ${said.pairs} pairs are voted on: thank you`);
    state.pair = null;
    element("pair").hidden = true;
    send({ type: "result" });
  }
}

function hello(said) {
  element("voter").maxLength = said.letters;
  element("real-figure").hidden = !said.real;
  element("yardstick").textContent = said.real
    ? "is nearer to REAL, the frames that really followed." : "looks more like what could really follow.";
  if (state.voter !== null) { send({ type: "begin", voter: state.voter }); return; }  // the server was away
  tell(`${said.models} models`);
  element("start").hidden = false;
  element("voter").focus();
}

function show(header, bytes) {
  const size = header.height * header.width * 3, names = ["left", "right", "real"];
  const before = bytes.subarray(0, header.seen * size);
  const dreams = names.map((_, i) => bytes.subarray((header.seen + i * header.frames) * size, (header.seen + (i + 1) * header.frames) * size));
  state.pair = { ...header, size, before, dreams };
  state.beats = 0;
  element("start").hidden = true;
  element("pair").hidden = false;
  element("frame").max = header.seen + header.frames - 1;
  element("frame").value = 0;
  open(true);
  tell(`pair ${header.pair} of ${header.pairs}`);
  draw();
}

function draw() {
  const pair = state.pair, frame = Number(element("frame").value), dreamt = frame - pair.seen;
  ["dream-left", "dream-right", "real"].forEach((id, i) => {
    if (!pair.dreams[i].length) return;
    drawFrame(element(id), dreamt < 0 ? pair.before : pair.dreams[i], (dreamt < 0 ? frame : dreamt) * pair.size, pair.height, pair.width);
  });
  element("frame-shown").textContent = `${frame + 1} of ${pair.seen + pair.frames}${dreamt < 0 ? ", seen by both" : ""}`;
  element("action").textContent = pair.actions[frame] ? `Action that led here: ${pair.actions[frame]}` : "The beginning";
}

function open(yes) { for (const button of answers) button.disabled = !yes; }

function vote(side) {
  if (!state.pair || answers[0].disabled) return;
  open(false);  // until the next pair is there
  send({ type: "vote", pair: state.pair.pair, vote: side });
}

function again() {
  state.beats = 0;
  element("frame").value = 0;
  element("run").setAttribute("aria-pressed", "true");
  draw();
}

function result(tables) {
  const parts = tables.map(({ title, head, rows }) => {
    const card = document.createElement("div"), table = document.createElement("table");
    card.className = "card votes";
    table.createCaption().textContent = title;
    const line = table.createTHead().insertRow();
    for (const words of head) { const cell = document.createElement("th"); cell.scope = "col"; cell.textContent = words; line.append(cell); }
    const body = table.createTBody();
    for (const row of rows) { const shown = body.insertRow(); for (const words of row) shown.insertCell().textContent = words; }
    card.append(table);
    return card;
  });
  const title = document.createElement("h2");
  title.textContent = tables.length ? "Result" : "No votes yet";
  element("result").replaceChildren(title, ...parts);
  element("result").hidden = false;
}

element("start").addEventListener("submit", (event) => {
  event.preventDefault();
  state.voter = element("voter").value;
  send({ type: "begin", voter: state.voter });
});
for (const button of answers) button.addEventListener("click", () => vote(button.dataset.vote));
element("run").addEventListener("click", () => element("run").setAttribute("aria-pressed", String(!pressed("run"))));
element("again").addEventListener("click", again);
element("ask").addEventListener("click", () => send({ type: "result" }));
element("frame").addEventListener("input", () => { element("run").setAttribute("aria-pressed", "false"); draw(); });
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.id === "voter" || !state.pair) return;
  if (event.key in KEYS) vote(KEYS[event.key]);
  if (event.key.toLowerCase() === "r") again();
});
if (matchMedia("(prefers-reduced-motion: reduce)").matches) element("run").setAttribute("aria-pressed", "false");
setInterval(() => {
  if (!state.pair || document.hidden || !pressed("run")) return;
  const frame = element("frame"), last = Number(frame.max);
  state.beats += 1;
  if (Number(frame.value) < last) { frame.value = Number(frame.value) + 1; state.beats = 0; draw(); }
  else if (state.beats >= END) again();
}, FRAME);
