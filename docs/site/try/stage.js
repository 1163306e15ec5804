// The picture: a slice, lines and areas over it, and an outline that is drawn by pointer or by keys.
// Places are in pixels of the slice; the first pixel's centre is (0, 0), as in the course.
import { outlines } from "./masks.js";

const DASHES = { truth: [], network: [6, 4], drawing: [1.5, 3.5] };

export class Stage {
  /** `drawn` is called with the corners of an outline, `said` with what a person who does not see should know. */
  constructor(canvas, colours, { drawn, said }) {
    Object.assign(this, { canvas, colours, drawn, said, scene: null, drawing: false, trace: [], cross: null });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => this.setTrace([]));
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  setDrawing(on) {
    Object.assign(this, { drawing: on, trace: [], cross: null });
    this.canvas.classList.toggle("drawing", on);
    this.paint();
  }

  /** Show {rows, cols, grey (0 to 1), aspect, masks: {truth, network, drawing}, areas, looked}. */
  show(scene) {
    if (scene.grey !== this.scene?.grey) this.picture = pictureOf(scene);
    this.scene = scene;
    this.paint();
  }

  paint() {
    const { canvas, scene } = this;
    if (!scene) return;
    canvas.style.aspectRatio = String(scene.aspect);
    canvas.parentElement.style.maxWidth = `calc((100vh - 8rem) * ${scene.aspect})`;
    const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
    [canvas.width, canvas.height] = [width, Math.round(width / scene.aspect)];
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = true;
    pen.drawImage(this.picture, 0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = false;
    if (scene.areas) pen.drawImage(areasOf(scene, this.colours), 0, 0, canvas.width, canvas.height);
    if (scene.looked) this.line(pen, corners(scene.looked), "#fff8", [3, 5], 1);
    for (const kind of ["truth", "network", "drawing"]) {
      for (const line of scene.masks[kind] ? outlines(scene.masks[kind]) : []) {
        this.line(pen, line, this.colours[kind], DASHES[kind]);
      }
    }
    this.line(pen, this.trace, this.colours.drawing, DASHES.drawing, 2, false);
    if (this.cross) this.drawCross(pen);
  }

  place([x, y]) {
    const { canvas, scene } = this;
    return [((x + 0.5) / scene.cols) * canvas.width, ((y + 0.5) / scene.rows) * canvas.height];
  }

  line(pen, points, colour, dash, width = 2, closed = true) {
    if (!points.length) return;
    const ratio = window.devicePixelRatio || 1;
    pen.beginPath();
    points.forEach((point) => pen.lineTo(...this.place(point)));
    if (closed) pen.closePath();
    pen.lineCap = dash[0] < 2 ? "round" : "butt";
    pen.setLineDash(dash.map((length) => length * ratio));
    [pen.lineWidth, pen.strokeStyle] = [width * ratio, colour];
    pen.stroke();
  }

  drawCross(pen) {
    const [x, y] = this.cross;
    for (const [colour, width] of [["#000", 3], [this.colours.drawing, 1.5]]) {
      this.line(pen, [[x - 3, y], [x + 3, y]], colour, [], width);
      this.line(pen, [[x, y - 3], [x, y + 3]], colour, [], width);
    }
  }

  setTrace(points) {
    this.trace = points;
    this.paint();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.scene.cols - 0.5,
      ((event.clientY - box.top) / box.height) * this.scene.rows - 0.5];
  }

  press(event) {
    if (!this.drawing || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    Object.assign(this, { pointer: event.pointerId, cross: null });
    this.setTrace([this.at(event)]);
  }

  drag(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.setTrace([...this.trace, ...(events.length ? events : [event]).map((each) => this.at(each))]);
  }

  release(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.finish();
  }

  finish() {
    const corners = this.trace;
    this.trace = [];
    if (corners.length > 2) this.drawn(corners);
    else this.said("Too short: go round the cavity.");
    this.paint();
  }

  /** Draw with keys; returns whether the key meant something. */
  key(event) {
    const step = event.shiftKey ? 5 : 1, { rows, cols } = this.scene;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const [x, y] = this.cross ?? [Math.floor(cols / 2), Math.floor(rows / 2)];
    if (moves[event.key]) {
      const inside = (value, length) => Math.min(length - 1, Math.max(0, value));
      this.cross = [inside(x + moves[event.key][0], cols), inside(y + moves[event.key][1], rows)];
    } else if (event.key === " ") {
      this.cross = [x, y];
      this.trace = [...this.trace, this.cross];
    } else if (event.key === "Backspace") {
      this.trace = this.trace.slice(0, -1);
    } else if (event.key === "Enter") {
      this.finish();
      return true;
    } else return false;
    this.said(`Column ${this.cross?.[0] ?? x}, row ${this.cross?.[1] ?? y}; ${this.trace.length} points`);
    this.paint();
    return true;
  }
}

function corners({ top, left, rows, cols }) {
  const [up, down, west, east] = [top - 0.5, top + rows - 0.5, left - 0.5, left + cols - 0.5];
  return [[west, up], [east, up], [east, down], [west, down]];
}

function pictureOf({ rows, cols, grey }) {
  return canvasOf(rows, cols, (at) => {
    const value = Math.round(255 * grey[at]);
    return [value, value, value, 255];
  });
}

/** Colour what two masks have in common, what the second misses and what it invents. */
function areasOf({ rows, cols, areas: [truth, prediction] }, colours) {
  const [right, missed, invented] = ["right", "missed", "invented"].map((kind) => channels(colours[kind]));
  const opacity = Math.round(255 * colours.opacity);
  return canvasOf(rows, cols, (at) => {
    const [inside, predicted] = [truth.pixels[at], prediction.pixels[at]];
    if (!inside && !predicted) return [0, 0, 0, 0];
    return [...(inside && predicted ? right : inside ? missed : invented), opacity];
  });
}

export function canvasOf(rows, cols, colourAt) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [cols, rows];
  const pen = canvas.getContext("2d"), data = pen.createImageData(cols, rows);
  for (let at = 0; at < rows * cols; at++) data.data.set(colourAt(at), 4 * at);
  pen.putImageData(data, 0, 0);
  return canvas;
}

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}
