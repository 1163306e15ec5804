// What can be on show: a moment of a phantom's slice, or a frame of a visitor's file. Both are the same to the page:
// {rows, cols, grey, aspect, spacingMm, image (for the network), toFrame(mask), truth, looked, notes}.
import { SIZE, atWorkingScale, centreCrop, greyRange, isBlank, maskAt, normalise, plane, uncrop } from "./slices.js";

/** A level's bytes: of each frame SIZE² grey values, then of each frame SIZE² bits of truth. */
export function phantomView(bytes, frame, { frames, spacing_mm: spacingMm }) {
  const size = SIZE ** 2, bits = bytes.subarray(frames * size + (frame * size) / 8);
  const image = Float32Array.from(bytes.subarray(frame * size, (frame + 1) * size), (value) => value / 255);
  const truth = plane(SIZE, SIZE, image.map((_, at) => (bits[at >> 3] >> (7 - (at & 7))) & 1));
  return { rows: SIZE, cols: SIZE, grey: image, aspect: 1, spacingMm, image, truth,
    toFrame: (mask) => plane(SIZE, SIZE, mask), looked: null, notes: [] };
}

/** A frame of a DICOM file as readDicom gives it; its mask is as large as the frame. */
export function fileView(file, number) {
  const frame = file.frame(number), { rows, cols, spacingMm } = frame;
  const working = atWorkingScale(frame, spacingMm), { crop, top, left } = centreCrop(working);
  const range = greyRange(crop.pixels), blank = isBlank(crop.pixels);
  const [down, across] = [rows / working.rows, cols / working.cols];
  const known = spacingMm.every((each) => each > 0);
  return { rows, cols, grey: normalise(frame.pixels, range), spacingMm, truth: null,
    aspect: (cols * (known ? spacingMm[1] : 1)) / (rows * (known ? spacingMm[0] : 1)),
    image: blank ? new Float32Array(SIZE ** 2) : normalise(crop.pixels, range),
    toFrame: (mask) => maskAt(uncrop(mask, top, left, working.rows, working.cols), rows, cols),
    looked: { top: top * down, left: left * across, rows: SIZE * down, cols: SIZE * across },
    notes: notesOn(file.kind, spacingMm, working !== frame, working, blank, known) };
}

function notesOn(kind, spacingMm, resampled, { rows, cols }, blank, known) {
  const spacing = spacingMm.map((each) => each.toFixed(2)).join(" × ");
  const said = [
    [kind !== "MR", `It says that it is no MR slice but of the kind “${kind}”. The network knows MR only.`],
    [known, `Its pixels are ${spacing} mm${resampled ? ": resampled to 1.4 mm for the network" : ""}.`],
    [!known, "It has no pixel spacing: its area in mm² is unknown."],
    [Math.min(rows, cols) < SIZE, `A side is under ${SIZE} pixels: padded.`],
    [blank, "It has no contrast in its middle, or is too small for a heart: its mask stays empty."],
  ];
  return said.filter(([holds]) => holds).map(([, text]) => text);
}
