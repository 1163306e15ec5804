// The page: what is on show, its controls, and what they change.
import { count, filled, maskOf, scores } from "./masks.js";
import { Network, fetchAll } from "./network.js";
import { ReadingError, readDicom } from "./reading.js";
import { SIZE } from "./slices.js";
import { Stage, canvasOf } from "./stage.js";
import { fileView, phantomView } from "./views.js";

const $ = (id) => document.getElementById(id);
const ROWS = [["network", "truth"], ["drawing", "truth"], ["drawing", "network"]];
const NAMES = { network: "network", truth: "truth", drawing: "your outline" };
const MOST_VIEWS = 64;

const state = { about: null, levels: [], level: 0, frame: 0, file: null, fileFrame: 0, playing: null, files: 0,
  views: new Map(), drawings: new Map() };
const network = new Network(SIZE, () => render(), (error) => {
  tell(`The network stopped: ${error.message}. Load the page again.`, true);
});
let stage, speaking, sentence = "";

async function start() {
  try {
    const about = state.about = await (await fetch("page.json")).json();
    for (const [name, colour] of Object.entries(about.colours)) {
      document.documentElement.style.setProperty(`--${name}`, colour);
    }
    stage = new Stage($("canvas"), about.colours, { drawn: keepDrawing, said: speak });
    setUpControls(about);
    const middle = about.phantom.levels >> 1;
    state.levels[middle] = (await fetchAll([levelFile(middle)], () => {}))[0];
    state.level = middle;
    render();
    await loadNetwork(about);
    for (const level of Array(about.phantom.levels).keys()) {
      state.levels[level] ??= (await fetchAll([levelFile(level)], () => {}))[0];
    }
    $("level").disabled = false;
    closeLine();
  } catch (error) {
    tell(`The page could not be loaded: ${error.message}. Load it again.`, true);
  }
}

async function loadNetwork({ bytes }) {
  const progress = (loaded) => {
    const tenths = Math.floor((10 * loaded) / bytes); // said at each tenth, not at each packet
    tell(`Loading the network: ${10 * Math.min(10, tenths)} % of ${Math.round(bytes / 1e6)} MB`);
    $("progress").value = Math.min(1, loaded / bytes);
  };
  const [engine, weights] = await fetchAll(["vendor/ort-wasm-simd-threaded.wasm", "network.onnx"], progress);
  tell("Starting the network …");
  await network.start(engine, weights);
  tell("The network is ready.");
  $("progress").classList.add("done");
}

/** From here on the browser itself lets this page send and fetch nothing any more. */
function closeLine() {
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = "default-src 'none'; style-src 'self'; form-action 'none'";
  document.head.append(policy);
  $("lock").textContent = "All is loaded: from here on your browser lets this page send and fetch nothing.";
  $("file").disabled = false;
}

const levelFile = (level) => `phantom/level-${level + 1}.bin`;

function tell(text, problem = false) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("problem", problem);
}

function setUpControls({ phantom, network: known }) {
  [$("level").max, $("frame").max] = [phantom.levels - 1, phantom.frames - 1];
  $("level").value = phantom.levels >> 1;
  $("level").disabled = true;
  $("threshold").value = known.threshold;
  $("versions").textContent = `lvlab ${known.lvlab} · onnxruntime-web ${state.about.vendor["onnxruntime-web"]} · ` +
    `dicom-parser ${state.about.vendor["dicom-parser"]}`;
  $("level").addEventListener("input", () => move(Number($("level").value), null));
  $("frame").addEventListener("input", () => {
    const wanted = Number($("frame").value); // before anything puts the slider back
    pause();
    move(null, wanted);
  });
  for (const id of ["threshold", "show-network", "show-truth", "show-errors"]) $(id).addEventListener("input", render);
  $("play").addEventListener("click", () => (state.playing ? pause() : play()));
  $("draw").addEventListener("click", () => draw($("draw").getAttribute("aria-pressed") === "false"));
  $("clear").addEventListener("click", () => { state.drawings.delete(place().key); render(); });
  $("canvas").addEventListener("keydown", onKey);
  $("file").addEventListener("change", () => openFile($("file").files));
  $("back").addEventListener("click", leaveFile);
  $("save").addEventListener("click", save);
  setUpDrop();
}

function setUpDrop() {
  let depth = 0; // of the elements that the file was dragged into
  const step = (by) => { depth = Math.max(0, depth + by); $("drop").hidden = depth === 0 || $("file").disabled; };
  addEventListener("dragenter", (event) => { event.preventDefault(); step(1); });
  addEventListener("dragleave", () => step(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    step(-depth);
    if (!$("file").disabled) openFile(event.dataTransfer.files);
  });
}

const frames = () => (state.file ? state.file.count : state.about.phantom.frames);
const frame = () => (state.file ? state.fileFrame : state.frame);

/** Return which slice is on show, or would be `ahead` frames later. */
function place(ahead = 0) {
  const { file, level } = state, number = (frame() + ahead) % frames();
  return { file, level, number, key: file ? `${file.key} ${number}` : `phantom ${level} ${number}` };
}

/** Return the slice at a place, as views.js makes it; the last ones are kept. */
function view({ file, level, number, key } = place()) {
  if (!state.views.has(key)) {
    if (state.views.size >= MOST_VIEWS) state.views.delete(state.views.keys().next().value);
    const made = file ? fileView(file, number) : phantomView(state.levels[level], number, state.about.phantom);
    state.views.set(key, { key, ...made });
  }
  return state.views.get(key);
}

function move(level, number) {
  if (level !== null && state.levels[level]) state.level = level;
  if (number !== null) state[state.file ? "fileFrame" : "frame"] = (number + frames()) % frames();
  if (stage.trace.length) stage.setTrace([]);
  render();
}

function play() {
  const beatMs = state.file ? 1000 : state.about.phantom.cycle_ms;
  const step = () => {
    if (network.known.has(place(1).key)) move(null, frame() + 1); // wait for an outline rather than show none
  };
  state.playing = setInterval(step, Math.max(40, beatMs / frames()));
  render();
}

function pause() {
  clearInterval(state.playing);
  state.playing = null;
  render();
}

function draw(on) {
  $("draw").setAttribute("aria-pressed", on);
  $("drawing-help").hidden = !on;
  if (on) {
    pause();
    $("canvas").focus({ preventScroll: true });
  }
  stage.setDrawing(on);
}

function keepDrawing(corners) {
  state.drawings.set(place().key, corners);
  draw(false);
  render();
}

function onKey(event) {
  if (stage.drawing) {
    if (stage.key(event)) event.preventDefault();
    else if (event.key === "Escape") draw(false);
    return;
  }
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (steps && !event.ctrlKey && !event.altKey && !event.metaKey) {
    event.preventDefault();
    if (steps[1]) pause();
    const level = Math.min(state.levels.length - 1, Math.max(0, state.level + steps[0]));
    move(state.file ? null : level, frame() + steps[1]);
  } else if (event.key === " ") {
    event.preventDefault();
    if (state.playing) pause();
    else play();
  }
}

/** Return the masks of what is on show, each as large as its frame; those that are not known yet are missing. */
function masksOf(shown) {
  const answer = network.known.get(shown.key), corners = state.drawings.get(shown.key), masks = {};
  if (shown.truth) masks.truth = shown.truth;
  if (answer) {
    const own = maskOf(answer.probability, network.size, Number($("threshold").value), state.about.network.parts);
    masks.network = shown.toFrame(own);
  }
  if (corners) masks.drawing = filled(corners, shown.rows, shown.cols);
  return masks;
}

function render() {
  const shown = view(), masks = masksOf(shown);
  const ahead = Array.from({ length: Math.min(frames(), 32) }, (_, step) => place(step));
  network.want(ahead.map((each) => [each.key, () => view(each).image]));
  const wanted = (kind) => (kind === "drawing" || $(`show-${kind}`).checked ? masks[kind] : undefined);
  const [judged, reference] = comparison(masks), coloured = $("show-errors").checked && judged;
  stage.show({ ...shown, masks: { truth: wanted("truth"), network: wanted("network"), drawing: wanted("drawing") },
    areas: coloured ? [masks[reference], masks[judged]] : null });
  $("compared").textContent = coloured ? `Coloured: ${NAMES[judged]} against ${NAMES[reference]}.` : "";
  describe(shown, masks);
}

/** Return which mask is coloured, and against which: one's own outline where there is one. */
function comparison(masks) {
  return [ROWS[1], ROWS[0], ROWS[2]].find(([one, other]) => masks[one] && masks[other]) ?? [];
}

function describe(shown, masks) {
  const { phantom } = state.about, many = frames() > 1;
  const level = `${state.level + 1} of ${phantom.levels}`;
  const ms = Math.round((frame() * phantom.cycle_ms) / frames());
  const time = state.file ? `${frame() + 1} of ${frames()}` : `${ms} ms`;
  showPlace("level", state.level, level);
  showPlace("frame", frame(), time);
  $("threshold-text").textContent = Number($("threshold").value).toFixed(2);
  $("play").textContent = state.playing ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", Boolean(state.playing));
  $("clear").disabled = !masks.drawing;
  $("save").disabled = !masks.network;
  $("show-truth").disabled = !shown.truth;
  $("phantom-controls").hidden = Boolean(state.file);
  $("frame-controls").hidden = !many;
  $("moving").hidden = Boolean(state.file) && !many;
  const ofFile = `${state.file?.name}${many ? `, frame ${time}` : ""}, ${shown.rows} × ${shown.cols} pixels`;
  const ofPhantom = `Phantom patient (${phantom.group}), level ${level}, ${time} after the R wave`;
  $("caption").textContent = state.file ? ofFile : ofPhantom;
  $("canvas").setAttribute("aria-label", $("caption").textContent);
  const answer = network.known.get(shown.key);
  $("speed").textContent = answer ? `Found in ${Math.round(answer.ms)} ms, here.` : network.ready ? "Looking …" : "";
  showScores(shown, masks);
}

function showPlace(slider, value, text) {
  $(slider).value = value;
  $(slider).setAttribute("aria-valuetext", text);
  $(`${slider}-text`).textContent = text;
}

function showScores(shown, masks) {
  const number = (value) => (Number.isNaN(value) ? "–" : value.toFixed(3));
  const rows = ROWS.filter(([one, other]) => masks[one] && masks[other]).map(([one, other]) => {
    const { dice, precision, recall } = scores(masks[other].pixels, masks[one].pixels);
    return [`${NAMES[one]} against ${NAMES[other]}`, ...[dice, precision, recall].map(number)];
  });
  $("scores").hidden = !rows.length;
  $("scores").tBodies[0].replaceChildren(...rows.map((cells) => element("tr", cells.map((text, column) =>
    (column ? element("td", [text]) : Object.assign(element("th", [text]), { scope: "row" }))))));
  const areas = Object.entries(masks).map(([name, mask]) => `${NAMES[name]} ${area(mask, shown.spacingMm)}`);
  $("areas").textContent = areas.length ? `Area: ${areas.join(", ")}` : "";
  const said = rows.map(([name, ...found]) => `${name}: Dice ${found[0]}, precision ${found[1]}, recall ${found[2]}.`);
  if (!state.playing) speak([...said, $("areas").textContent].join(" "));
}

function area(mask, spacingMm) {
  const pixels = count(mask.pixels), squareMm = pixels * spacingMm[0] * spacingMm[1];
  return Number.isNaN(squareMm) ? `${pixels} pixels` : `${Math.round(squareMm)} mm²`;
}

function element(kind, inside) {
  const made = document.createElement(kind);
  made.append(...inside);
  return made;
}

/** Say something to a screen reader, when nothing newer has come for a moment. */
function speak(text) {
  if (text === sentence) return;
  sentence = text;
  clearTimeout(speaking);
  speaking = setTimeout(() => { $("live").textContent = text; }, 600);
}

async function openFile(chosen) {
  const [file, ...others] = chosen;
  if (!file) return;
  complain("");
  try {
    const read = await readDicom(new Uint8Array(await file.arrayBuffer()));
    const opened = { ...read, name: file.name, key: `file ${++state.files}` };
    const { notes } = fileView(opened, 0); // refused here, before anything on show changes
    pause();
    for (const each of [network.known, state.drawings]) forgetFiles(each);
    Object.assign(state, { file: opened, fileFrame: 0 });
    state.views.clear();
    $("frame").max = read.count - 1;
    showNotes([...(others.length ? [`${others.length + 1} files came; this page shows one at a time, the first.`] : []),
      ...notes]);
    render();
    $("stage").scrollIntoView({ block: "nearest" });
  } catch (error) {
    const what = error instanceof ReadingError ? error.message : "cannot be read; choose one DICOM file, not a folder";
    complain(`${file.name}: ${what}.`);
  }
  $("file").value = "";
}

function forgetFiles(map) {
  for (const key of map.keys()) if (key.startsWith("file")) map.delete(key);
}

function complain(text) {
  $("own-status").textContent = text;
  if (text) $("own-status").scrollIntoView({ block: "nearest" });
}

function showNotes(notes) {
  $("notes").replaceChildren(...notes.map((text) => element("li", [text])));
  $("file-buttons").hidden = !state.file;
}

function leaveFile() {
  pause();
  state.file = null;
  state.views.clear();
  $("frame").max = frames() - 1;
  complain("");
  showNotes([]);
  render();
}

function save() {
  const shown = view(), { rows, cols, pixels } = masksOf(shown).network;
  const mask = canvasOf(rows, cols, (at) => [255 * pixels[at], 255 * pixels[at], 255 * pixels[at], 255]);
  mask.toBlob((blob) => {
    const stem = state.file.name.replace(/(\.(dcm|dicom|ima))?(\.gz)?$/i, "");
    const number = frames() > 1 ? `_f${String(frame() + 1).padStart(4, "0")}` : "";
    const link = Object.assign(element("a", []), { href: URL.createObjectURL(blob), download: `${stem}${number}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, "image/png");
}

start();
