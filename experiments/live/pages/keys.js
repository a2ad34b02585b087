"use strict";
// From keys, mouse and fingers to the factors of an action, whatever the environment calls them.

const WALK = [
  // what is held, factor, label, words, words on a finger's button
  ["KeyW", "move", "forward", "W: forward", "▲", "forward"],
  ["KeyA", "strafe", "left", "A: left", "◀", "left"],
  ["KeyS", "move", "back", "S: back", "▼", "back"],
  ["KeyD", "strafe", "right", "D: right", "▶", "right"],
  ["Space", "jump", "jump", "Space: jump", "jump", "jump"],
  ["ShiftLeft", "sneak", "sneak", "Shift: sneak", "sneak", "sneak"],
  ["KeyQ", "sprint", "sprint", "Q: sprint", "sprint", "sprint"],
  ["KeyF", "attack", "attack", "F: attack", "attack", "attack"],
  ["KeyV", "use", "use", "V: use", "use", "use"],
];
const LOOK = [
  ["ArrowLeft", "yaw", -1, "↶", "look left"], ["ArrowRight", "yaw", 1, "↷", "look right"],
  ["ArrowUp", "pitch", -1, "⤒", "look up"], ["ArrowDown", "pitch", 1, "⤓", "look down"],
];
const DEGREES_A_PIXEL = 0.15;

const MEANT = {  // keys of what other environments call their values
  left: "ArrowLeft", right: "ArrowRight", up: "ArrowUp", forward: "ArrowUp", down: "ArrowDown", back: "ArrowDown",
  fire: "Space", do: "Space", jump: "Space",
};
const BOTH_WAYS = [["ArrowLeft", "ArrowRight"], ["ArrowDown", "ArrowUp"], ["KeyJ", "KeyL"], ["KeyK", "KeyI"]];
const ONE_WAY = ["ArrowUp", "ArrowDown", "KeyI", "KeyK"];
const ANY = [..."1234567890"].map((digit) => `Digit${digit}`).concat([..."BOTUXYZMIJKL"].map((c) => `Key${c}`));
const ARROWS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

function inWords(label) { return /[a-z]/.test(label) ? label : label.toLowerCase().replaceAll("_", " "); }

// Whether a label is several of others in a row, as Atari's UPLEFTFIRE is: keys of those, held together, mean it.
function together(label, others) {
  const parts = (rest, count) => (rest === "" ? count > 1
    : [...others].some((each) => each !== label && each && rest.startsWith(each) && parts(rest.slice(each.length), count + 1)));
  return parts(label, 0);
}

// Which of a factor's values the labels that are held mean: all of them together where it has such a value, else the last.
function meantBy(factor, labels) {
  const orders = (left) => (left.length < 2 ? [left]
    : left.flatMap((one, i) => orders([...left.slice(0, i), ...left.slice(i + 1)]).map((rest) => [one, ...rest])));
  for (const order of labels.length > 1 && labels.length < 5 ? orders(labels) : []) {
    const value = factor.labels.indexOf(order.join(""));
    if (value >= 0) return value;
  }
  return factor.labels.indexOf(labels.at(-1));
}

// Rows as WALK's for every value that no key has yet: an axis of numbers goes to its ends, what has a known name has
// its arrow, and the others have digits and letters in order, as long as there are some (play.js has letters as well).
function otherRows(factors, taken) {
  const rows = [], free = (code) => code && !taken.has(code);
  function bind(code, factor, value) {
    const label = factor.labels[value], key = ARROWS[code] ?? code.replace(/^(Digit|Key)/, "");
    const name = factor.labels.length > 2 && /^[+-]?\d/.test(label) ? `${factor.name} ${label}` : inWords(label);
    taken.add(code);
    rows.push([code, factor.name, label, `${key}: ${name}`, ARROWS[code] ?? name, name]);
  }
  for (const factor of factors.filter((each) => !each.degrees)) {
    const bound = new Set(WALK.filter((row) => row[1] === factor.name).map((row) => row[2]));
    const rest = factor.labels.map((_, value) => value)
      .filter((value) => value !== factor.null && !bound.has(factor.labels[value]));
    if (factor.labels.length > 2 && factor.labels.every((label) => /^[+-]\d/.test(label))) {
      const ends = [rest.filter((value) => value < factor.null)[0], rest.filter((value) => value > factor.null).at(-1)];
      const there = ends.filter((value) => value !== undefined);
      const pair = BOTH_WAYS.find((codes) => codes.every(free)), one = ONE_WAY.find(free);
      if (there.length === 2 && pair) pair.forEach((code, i) => bind(code, factor, ends[i]));
      else if (there.length === 1 && one) bind(one, factor, there[0]);
      continue;
    }
    const named = new Set([...bound, ...rest.map((value) => factor.labels[value])]);
    for (const value of rest.filter((each) => !together(factor.labels[each], named))) {
      const meant = MEANT[factor.labels[value].toLowerCase()];
      const code = free(meant) ? meant : ANY.find(free);
      if (code) bind(code, factor, value);
    }
  }
  return rows;
}

// The factors that turn the camera sideways and up: those of these names, else in the order in which they come.
function cameras(factors) {
  const names = factors.filter((each) => each.degrees).map((each) => each.name), axes = ["yaw", "pitch"];
  const others = names.filter((name) => !axes.includes(name));
  return Object.fromEntries(axes.map((axis) => [axis, names.includes(axis) ? axis : others.shift()]));
}

function makeHands(factors, send, stage, touch, help) {
  const byName = new Map(factors.map((factor) => [factor.name, factor]));
  const held = new Set();
  let moved = {}, dirty = false;
  const walks = WALK.filter(([, factor, label]) => byName.get(factor)?.labels.includes(label));
  const turned = cameras(factors);
  const looks = LOOK.flatMap(([code, axis, ...rest]) => (turned[axis] ? [[code, turned[axis], ...rest]] : []));
  walks.push(...otherRows(factors, new Set([...walks, ...looks].map(([code]) => code))));

  function speed(factor) {  // of the camera under an arrow: a bin in the middle, so that it turns exactly so far
    const degrees = byName.get(factor).degrees;
    return degrees[Math.min(degrees.length - 1, (degrees.length >> 1) + Math.max(1, degrees.length >> 2) + 1)];
  }
  function say() {
    const message = { type: "act", held: {}, turn: {}, camera: moved, stamp: performance.now() };
    const labels = new Map();
    for (const [code, factor, label] of walks) {
      if (held.has(code)) labels.set(factor, [...(labels.get(factor) ?? []), label]);
    }
    for (const [factor, several] of labels) message.held[factor] = meantBy(byName.get(factor), several);
    for (const [code, factor, sign] of looks) {
      if (held.has(code)) message.turn[factor] = (message.turn[factor] ?? 0) + sign * speed(factor);
    }
    moved = {}; dirty = false;
    send(message);
  }
  function hold(code, on) {
    if (on === held.has(code)) return;
    on ? held.add(code) : held.delete(code);
    say();
  }
  const mine = new Set([...walks, ...looks].map(([code]) => code));
  function typing(event) {
    return event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea");
  }
  addEventListener("keydown", (event) => {
    const code = event.code === "ShiftRight" ? "ShiftLeft" : event.code;
    if (!mine.has(code) || typing(event)) return;
    if (code === "Space" && event.target.closest?.("button, a, summary")) return;  // it presses that
    event.preventDefault();
    hold(code, true);
  });
  addEventListener("keyup", (event) => hold(event.code === "ShiftRight" ? "ShiftLeft" : event.code, false));
  addEventListener("blur", () => { if (held.size) { held.clear(); say(); } });

  const buttons = { 0: "KeyF", 2: "KeyV" };
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("mousedown", (event) => {
    stage.focus();
    if (document.pointerLockElement !== stage) {
      if (looks.length && matchMedia("(pointer: fine)").matches) stage.requestPointerLock?.()?.catch?.(() => {});
      return;
    }
    if (mine.has(buttons[event.button])) hold(buttons[event.button], true);
  });
  addEventListener("mouseup", (event) => { if (buttons[event.button]) hold(buttons[event.button], false); });
  addEventListener("mousemove", (event) => {
    if (document.pointerLockElement === stage) turn(event.movementX, event.movementY);
  });
  function turn(x, y) {
    for (const [axis, pixels] of [["yaw", x], ["pitch", y]]) {
      if (turned[axis]) moved[turned[axis]] = (moved[turned[axis]] ?? 0) + DEGREES_A_PIXEL * pixels;
    }
    dirty = true;
  }
  setInterval(() => { if (dirty) say(); }, 30);

  let finger = null;  // a finger that is dragged over the pictures looks about
  stage.addEventListener("touchstart", (event) => { finger = event.changedTouches[0]; }, { passive: true });
  stage.addEventListener("touchmove", (event) => {
    const now = [...event.changedTouches].find((touch) => touch.identifier === finger?.identifier);
    if (!now || !looks.length) return;  // it scrolls
    event.preventDefault();
    turn(2 * (now.clientX - finger.clientX), 2 * (now.clientY - finger.clientY));
    finger = now;
  }, { passive: false });

  touch.replaceChildren(...[...walks.map(([code, , , , shown, name]) => [code, shown, name]),
    ...looks.map(([code, , , shown, name]) => [code, shown, name])].map(([code, shown, name]) => {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = shown; button.setAttribute("aria-label", name);
    button.dataset.code = code;
    if (shown.length > 7) button.className = "wide";
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId); hold(code, true); button.setAttribute("aria-pressed", "true");
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      button.addEventListener(end, () => { hold(code, false); button.setAttribute("aria-pressed", "false"); });
    }
    return button;
  }));
  tellKeys(help, walks.map(([, , , words]) => words.split(": ")));
  if (looks.length) tellKeys(help, [[looks.map(([code]) => ARROWS[code]).join(""), "look, as the mouse does"]]);
  const uses = [["KeyF", "left"], ["KeyV", "right"]].flatMap(([code, side]) => {
    const row = walks.find(([bound]) => bound === code);
    return row ? [`its ${side} button: ${row[5]}`] : [];
  });
  const note = document.createElement("p");
  note.className = "quiet";
  note.textContent = (looks.length ? `Click a picture to look with the mouse${uses.map((words) => `, ${words}`).join("")}; Esc lets it go. ` : "")
    + "Keys act while no field has the focus.";
  help.after(note);
}

function tellKeys(help, rows) {
  for (const [key, what] of rows) {
    const row = document.createElement("div"), term = document.createElement("dt");
    const text = document.createElement("dd"), box = document.createElement("kbd");
    box.textContent = key; term.append(box); text.textContent = what;
    row.append(term, text); help.append(row);
  }
}
