// From a frame to what the network sees, and back: lvlab/slices.py and at_working_scale of lvlab/store/folder.py.
// A plane is {rows, cols, pixels}; pixels is a Float32Array, row by row, NaN where nothing was measured.

export const SIZE = 128;
const USUAL_MM = [1.0, 2.0], WORKING_MM = 1.4, MOST_ZOOM = 4, MOST_RESAMPLED = 2 ** 22;
const LEAST_SIDE = 40, LEAST_SHARE = 0.1;

export function plane(rows, cols, pixels = new Float32Array(rows * cols)) {
  return { rows, cols, pixels };
}

/** Return a frame as the network is used to it: odd pixels are resampled to squares of 1.4 mm. */
export function atWorkingScale(frame, spacingMm) {
  const zoom = spacingMm.map((each) => each / WORKING_MM);
  const [least, most] = [Math.min(...spacingMm), Math.max(...spacingMm)];
  const usual = USUAL_MM[0] <= least && most <= USUAL_MM[1] && most - least < 0.3;
  if (usual || !zoom.every((each) => each <= MOST_ZOOM && each >= 1 / MOST_ZOOM)) return frame;
  const rows = Math.max(1, halfToEven(zoom[0] * frame.rows)), cols = Math.max(1, halfToEven(zoom[1] * frame.cols));
  if (rows * cols > MOST_RESAMPLED) return frame;
  const known = frame.pixels.map((value) => (Number.isFinite(value) ? 1 : 0));
  const darkest = frame.pixels.reduce((low, value) => (value < low ? value : low), Infinity);
  const filled = frame.pixels.map((value) => (Number.isFinite(value) ? value : Number.isFinite(darkest) ? darkest : 0));
  const resized = resize({ ...frame, pixels: filled }, rows, cols);
  const inside = maskAt({ ...frame, pixels: known }, rows, cols);
  resized.pixels.forEach((_, at) => { if (!inside.pixels[at]) resized.pixels[at] = NaN; });
  return resized;
}

/** Return a 0/1 plane resampled to another shape of the same field of view. */
export function maskAt(mask, rows, cols) {
  if (mask.rows === rows && mask.cols === cols) return mask;
  const resized = resize(mask, rows, cols);
  return { ...resized, pixels: resized.pixels.map((value) => (value >= 0.5 ? 1 : 0)) };
}

/** Return the central SIZE × SIZE pixels, padded with NaN, and their corner in the frame. */
export function centreCrop(frame) {
  const top = Math.floor((frame.rows - SIZE) / 2), left = Math.floor((frame.cols - SIZE) / 2);
  const crop = plane(SIZE, SIZE);
  for (let row = 0; row < SIZE; row++) {
    for (let col = 0; col < SIZE; col++) {
      const [y, x] = [row + top, col + left];
      const inside = y >= 0 && x >= 0 && y < frame.rows && x < frame.cols;
      crop.pixels[row * SIZE + col] = inside ? frame.pixels[y * frame.cols + x] : NaN;
    }
  }
  return { crop, top, left };
}

/** Put a mask of SIZE × SIZE back into a frame of rows × cols, 0 elsewhere. */
export function uncrop(mask, top, left, rows, cols) {
  const frame = plane(rows, cols);
  for (let row = Math.max(0, -top); row < Math.min(SIZE, rows - top); row++) {
    for (let col = Math.max(0, -left); col < Math.min(SIZE, cols - left); col++) {
      frame.pixels[(row + top) * cols + col + left] = mask[row * SIZE + col];
    }
  }
  return frame;
}

/** Return the 5th and 95th percentile of the measured pixels, as numpy.percentile interpolates them. */
export function greyRange(pixels) {
  const known = pixels.filter(Number.isFinite).sort();
  const percentile = (share) => {
    const place = (known.length - 1) * share, below = Math.floor(place), part = place - below;
    const low = known[below], high = known[Math.min(below + 1, known.length - 1)];
    const step = Math.fround(high - low);
    return part >= 0.5 ? high - step * (1 - part) : low + step * part;
  };
  return known.length ? [percentile(5 / 100), percentile(95 / 100)] : [0, 0];
}

/** Map the 5th percentile to 0 and the 95th to 1, and clip; NaN becomes 0. */
export function normalise(pixels, [bottom, top] = greyRange(pixels)) {
  if (!(top > bottom)) return new Float32Array(pixels.length);
  return pixels.map((value) => Math.min(1, Math.max(0, (value - bottom) / (top - bottom))) || 0);
}

/** Tell a crop that can hold no heart: hardly anything measured, or nearly all of it one value. */
export function isBlank(pixels) {
  const known = pixels.filter(Number.isFinite).sort();
  if (known.length < LEAST_SIDE ** 2) return true;
  let run = 0, longest = 0;
  known.forEach((value, at) => {
    run = at && value === known[at - 1] ? run + 1 : 1;
    longest = Math.max(longest, run);
  });
  return longest > (1 - LEAST_SHARE) * known.length;
}

/** Resample as skimage.transform.resize does (order 1, anti-aliasing, mirrored at the edges). */
export function resize(frame, rows, cols) {
  const factors = [frame.rows / rows, frame.cols / cols];
  let smooth = blurColumns(frame, Math.max(0, (factors[0] - 1) / 2));
  smooth = transposed(blurColumns(transposed(smooth), Math.max(0, (factors[1] - 1) / 2)));
  const across = places(frame.cols, cols), down = places(frame.rows, rows);
  const result = plane(rows, cols);
  const [low, high] = frame.pixels.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      let sum = 0;
      for (const [y, share] of down[row]) {
        for (const [x, part] of across[col]) sum += share * part * smooth.pixels[y * frame.cols + x];
      }
      result.pixels[row * cols + col] = Math.min(high, Math.max(low, sum));
    }
  }
  return result;
}

/** For each new place along a side: the two old places that it lies between, and their shares. */
function places(before, after) {
  return Array.from({ length: after }, (_, place) => {
    const at = ((place + 0.5) * before) / after - 0.5;
    const inside = before === 1 ? 0 : at < 0 ? -at : at > before - 1 ? 2 * (before - 1) - at : at;
    const low = Math.floor(inside), part = inside - low;
    return [[low, 1 - part], [Math.min(low + 1, before - 1), part]];
  });
}

function blurColumns(frame, sigma) {
  if (!(sigma > 1e-15)) return frame;
  const reach = Math.floor(4 * sigma + 0.5);
  let weights = Array.from({ length: 2 * reach + 1 }, (_, at) => Math.exp((-0.5 / sigma ** 2) * (at - reach) ** 2));
  const sum = weights.reduce((a, b) => a + b);
  weights = weights.map((each) => each / sum);
  const { rows, cols } = frame, result = plane(rows, cols);
  for (let row = 0; row < rows; row++) {
    const from = weights.map((_, at) => mirrored(row + at - reach, rows) * cols);
    for (let col = 0; col < cols; col++) {
      let value = 0;
      for (let at = 0; at < weights.length; at++) value += weights[at] * frame.pixels[from[at] + col];
      result.pixels[row * cols + col] = value;
    }
  }
  return result;
}

function mirrored(at, length) {
  if (length === 1) return 0;
  const period = 2 * (length - 1), inside = ((at % period) + period) % period;
  return inside < length ? inside : period - inside;
}

function transposed({ rows, cols, pixels }) {
  const turned = plane(cols, rows);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) turned.pixels[col * rows + row] = pixels[row * cols + col];
  }
  return turned;
}

function halfToEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}
