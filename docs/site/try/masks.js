// From probabilities to masks, outlines and scores: lvlab/evaluation.py, lvlab/metrics.py, store/masks.py.

/** Return a 0/1 mask of the probabilities that reach the threshold; "largest": of its largest part only. */
export function maskOf(probability, cols, threshold, parts) {
  const least = Math.fround(threshold);
  const inside = probability.map((value) => (value >= least ? 1 : 0));
  return parts === "largest" ? largestPart(inside, probability, cols) : inside;
}

/** Keep the part that holds most of the probability; pixels touch at their sides, not at their corners. */
function largestPart(inside, probability, cols) {
  const label = new Int32Array(inside.length), sums = [0];
  for (let start = 0; start < inside.length; start++) {
    if (!inside[start] || label[start]) continue;
    const open = [start];
    label[start] = sums.length;
    let sum = 0;
    while (open.length) {
      const at = open.pop(), col = at % cols;
      sum += probability[at];
      const beside = [at - cols, at + cols, col ? at - 1 : -1, col < cols - 1 ? at + 1 : -1];
      for (const next of beside) {
        if (inside[next] && !label[next]) {
          label[next] = sums.length;
          open.push(next);
        }
      }
    }
    sums.push(sum);
  }
  const most = sums.indexOf(Math.max(...sums));
  return inside.map((value, at) => (value && label[at] === most ? 1 : 0));
}

/** Return {dice, precision, recall} of two masks; both empty: NaN, one empty: 0. */
export function scores(truth, prediction) {
  let hit = 0, inside = 0, predicted = 0;
  truth.forEach((value, at) => {
    hit += value * prediction[at];
    inside += value;
    predicted += prediction[at];
  });
  const ratio = (part, whole) => (inside + predicted === 0 ? NaN : whole ? part / whole : 0);
  return { dice: ratio(2 * hit, inside + predicted), precision: ratio(hit, predicted), recall: ratio(hit, inside) };
}

export function count(mask) {
  return mask.reduce((sum, value) => sum + value, 0);
}

/** Return the closed lines round a mask as lists of [x, y]; the first pixel's centre is (0, 0). */
export function outlines({ rows, cols, pixels }) {
  const at = (row, col) => (row < 0 || col < 0 || row >= rows || col >= cols ? 0 : pixels[row * cols + col]);
  const next = new Map(), key = (x, y) => 2 * y * (2 * cols + 4) + 2 * x;
  const join = (from, to) => next.set(key(...from), { from, to });
  for (let row = -1; row < rows; row++) {
    for (let col = -1; col < cols; col++) {
      const corners = at(row, col) + 2 * at(row, col + 1) + 4 * at(row + 1, col + 1) + 8 * at(row + 1, col);
      const sides = [[col + 0.5, row], [col + 1, row + 0.5], [col + 0.5, row + 1], [col, row + 0.5]];
      for (const [from, to] of STEPS[corners]) join(sides[from], sides[to]);
    }
  }
  const lines = [];
  while (next.size) {
    const line = [];
    let place = next.keys().next().value;
    while (next.has(place)) {
      const { from, to } = next.get(place);
      next.delete(place);
      line.push(from);
      place = key(...to);
    }
    lines.push(line);
  }
  return lines;
}

// Between four pixels, whose corners above 0 make the number (1, 2, 4, 8 clockwise from the upper left): from which
// side the line comes and to which it goes (0 above, 1 right, 2 below, 3 left), the inside on its right hand.
const STEPS = [[], [[0, 3]], [[1, 0]], [[1, 3]], [[2, 1]], [[0, 3], [2, 1]], [[2, 0]], [[2, 3]],
  [[3, 2]], [[0, 2]], [[1, 0], [3, 2]], [[1, 2]], [[3, 1]], [[0, 1]], [[3, 0]], []];

/** Return the mask of the pixels whose centres lie inside a polygon of [x, y] or on its line. */
export function filled(vertices, rows, cols) {
  const mask = new Float32Array(rows * cols);
  if (vertices.length < 3) return { rows, cols, pixels: mask };
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) mask[row * cols + col] = holds(vertices, col, row) ? 1 : 0;
  }
  return { rows, cols, pixels: mask };
}

function holds(vertices, x, y) {
  let inside = false;
  for (let at = 0, before = vertices.length - 1; at < vertices.length; before = at++) {
    const [[x0, y0], [x1, y1]] = [vertices[before], vertices[at]];
    const side = (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0);
    const between = (x - x0) * (x - x1) <= 0 && (y - y0) * (y - y1) <= 0;
    if (side === 0 && between) return true;
    if (y0 > y !== y1 > y && x < x0 + ((x1 - x0) * (y - y0)) / (y1 - y0)) inside = !inside;
  }
  return inside;
}
