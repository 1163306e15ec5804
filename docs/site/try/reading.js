// A DICOM file's frames, as lvlab/store/dicom.py reads them. dicomParser is the page's one parser of its elements.
/* global dicomParser */

const MOST_PIXELS = 2 ** 24, MOST_BYTES = 2 ** 28, MOST_PADDING = 1.05;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const IMPLICIT = "1.2.840.10008.1.2", EXPLICIT = "1.2.840.10008.1.2.1", DEFLATED = "1.2.840.10008.1.2.1.99";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const COMPRESSED = [[/^1\.2\.840\.10008\.1\.2\.5$/, "RLE"], [/^1\.2\.840\.10008\.1\.2\.4\.(5|6|70)/, "JPEG"],
  [/^1\.2\.840\.10008\.1\.2\.4\.8/, "JPEG-LS"], [/^1\.2\.840\.10008\.1\.2\.4\.9[0-3]/, "JPEG 2000"],
  [/^1\.2\.840\.10008\.1\.2\.4\.10/, "a film (MPEG)"], [/^1\.2\.840\.10008\.1\.2\.4\.20/, "High-Throughput JPEG 2000"]];
const KINDS = ["MR", "screenshot", "localiser"]; // of which lvlab segment writes masks
const ROOT = "1.2.840.10008.5.1.4.1.1.";
const MR_CLASSES = ["4", "4.1", "4.3", "4.4"].map((number) => ROOT + number);
const SCREENSHOT = /^1\.2\.840\.10008\.5\.1\.4\.1\.1\.7(\.|$)/;
const NO_PICTURE = /^1\.2\.840\.10008\.5\.1\.4\.1\.1\.(4\.2|66|88|11|481|104|9|30|67|68)(\.|$)/;
const NO_PICTURES = ["SEG", "SR", "PR", "KO", "REG", "FID", "DOC", "PLAN", "RWV", "RTSTRUCT", "RTPLAN", "RTDOSE",
  "RTRECORD"];
const TAG = { syntax: "x00020010", imageType: "x00080008", sopClass: "x00080016", modality: "x00080060",
  spacing: "x00280030", slope: "x00281053", intercept: "x00281052", padding: "x00280120", paddingLimit: "x00280121",
  samples: "x00280002", photometric: "x00280004", planar: "x00280006", frames: "x00280008", rows: "x00280010",
  cols: "x00280011", allocated: "x00280100", stored: "x00280101", signed: "x00280103", lut: "x00283000",
  float: "x7fe00008", double: "x7fe00009", pixels: "x7fe00010", shared: "x52009229", perFrame: "x52009230" };

/** Something a person can put right: one line, without the file's name. */
export class ReadingError extends Error {}

/** Return {kind, count, frame(number)}; `frame` gives {rows, cols, spacingMm, pixels}, brighter is brighter, NaN where
 *  nothing was measured. Raises ReadingError. */
export async function readDicom(bytes) {
  const dataset = await elements(await unzipped(bytes));
  const kind = kindOf(dataset);
  if (!kind) throw new ReadingError("holds no image (but a report, a segmentation or a plan); choose the image itself");
  if (!KINDS.includes(kind)) throw new ReadingError(`is no MR image but ${kind}; choose a slice of cardiac MR`);
  const image = header(dataset);
  const stored = storedFrames(dataset, image);
  return { kind, count: image.count, frame: (number) =>
    ({ ...rescaled(dataset, image, stored(number), number), spacingMm: spacingMm(dataset, number) }) };
}

async function unzipped(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  return inflate(bytes, "gzip", "its gzip is damaged");
}

async function inflate(bytes, format, complaint) {
  // A deflated data set of odd length ends in one more 0, which the browser's inflater does not pardon.
  const tries = format === "deflate-raw" && bytes.at(-1) === 0 ? [bytes, bytes.slice(0, -1)] : [bytes];
  for (const each of tries) {
    try {
      const stream = new Blob([each]).stream().pipeThrough(new DecompressionStream(format));
      return new Uint8Array(await new Response(stream).arrayBuffer());
    } catch { /* told below */ }
  }
  throw new ReadingError(`${complaint}; fetch it again`);
}

/** Return the data set; one without preamble is read, too. */
async function elements(bytes) {
  if (bytes.length > MOST_BYTES) throw new ReadingError("is more than 256 MB, no MR slice; export it again");
  const marked = String.fromCharCode(...bytes.slice(128, 132)) === "DICM";
  if (!marked && !isBare(bytes)) throw new ReadingError("is not a DICOM file; export it as DICOM");
  try {
    if (!marked) return bareDataSet(bytes);
    const start = dicomParser.readPart10Header(bytes);
    const syntax = text(start, TAG.syntax), rest = bytes.slice(start.position);
    if (syntax && syntax !== DEFLATED) return dicomParser.parseDicom(bytes);
    return bareDataSet(syntax ? await inflate(rest, "deflate-raw", "its deflated part is damaged") : rest);
  } catch (error) {
    if (error instanceof ReadingError) throw error;
    throw new ReadingError("cannot be read as DICOM: it is damaged or cut short; export it again");
  }
}

function isBare(bytes) {
  const letter = (at) => bytes[at] >= 65 && bytes[at] <= 90;
  const at = letter(4) && letter(5) ? 6 : 4;
  const length = bytes[at] + 256 * bytes[at + 1] + (at === 4 ? 65536 * (bytes[6] + 256 * bytes[7]) : 0);
  return bytes.length > 8 && (bytes[0] === 2 || bytes[0] === 8) && !bytes[1] && bytes[3] <= 1 && length < 1024;
}

function bareDataSet(bytes) {
  const explicit = bytes[4] >= 65 && bytes[4] <= 90;
  const stream = new dicomParser.ByteStream(dicomParser.littleEndianByteArrayParser, bytes);
  const dataset = new dicomParser.DataSet(stream.byteArrayParser, stream.byteArray, {});
  const parse = explicit ? dicomParser.parseDicomDataSetExplicit : dicomParser.parseDicomDataSetImplicit;
  parse(dataset, stream, bytes.length);
  return dataset;
}

/** Return what the pixels need to be understood; raises where this page cannot. */
function header(dataset) {
  const syntax = text(dataset, TAG.syntax) || EXPLICIT;
  const packed = COMPRESSED.find(([pattern]) => pattern.test(syntax));
  if (packed || ![IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN].includes(syntax)) {
    throw new ReadingError(`its pixels are compressed (${packed ? packed[1] : syntax}), which this page cannot read; ` +
      "export it uncompressed, or use: lvlab segment");
  }
  const tag = [TAG.pixels, TAG.float, TAG.double].find((each) => dataset.elements[each]?.length);
  if (!tag) throw new ReadingError("holds no image (no pixel data); export it again");
  const whole = (key, usual) => dataset.uint16(TAG[key]) ?? usual;
  const image = { tag, rows: whole("rows"), cols: whole("cols"), samples: whole("samples", 1),
    allocated: whole("allocated"), stored: whole("stored"), signed: whole("signed", 0), planar: whole("planar", 0),
    count: Number(text(dataset, TAG.frames)) || 1, bigEndian: syntax === BIG_ENDIAN,
    photometric: (text(dataset, TAG.photometric) || "MONOCHROME2").toUpperCase() };
  image.stored ??= image.allocated;
  refuse(dataset, image);
  return image;
}

function refuse(dataset, image) {
  const { rows, cols, allocated, samples, count, photometric, tag } = image;
  if (!rows || !cols) throw new ReadingError("does not say how many rows and columns it has; export it again");
  if (rows * cols > MOST_PIXELS) throw new ReadingError(`is ${rows} × ${cols} pixels, no MR slice; export it again`);
  if (!(tag === TAG.pixels ? [8, 16, 32] : [32, 64]).includes(allocated)) {
    throw new ReadingError(`has ${allocated} bits a pixel, which this page cannot read; use: lvlab segment`);
  }
  if (!(samples === 1 ? ["MONOCHROME", "MONOCHROME1", "MONOCHROME2"] : ["RGB"]).includes(photometric)) {
    throw new ReadingError(`has colours (${photometric}) that this page cannot read; use: lvlab segment`);
  }
  if (dataset.elements[TAG.lut]) {
    throw new ReadingError("maps its values by a table, which this page cannot read; use: lvlab segment");
  }
  const needed = (count * rows * cols * samples * allocated) / 8, held = dataset.elements[tag].length;
  if (held < needed || held > MOST_PADDING * needed) {
    const need = `its ${rows} × ${cols} pixels need ${needed}`;
    throw new ReadingError(`holds ${held} bytes of pixels, ${need}; export it again`);
  }
}

/** Return a function: the stored numbers of a frame, colour as its mean. */
function storedFrames(dataset, image) {
  const { tag, rows, cols, samples, allocated, count } = image, bytes = allocated / 8, size = rows * cols;
  const held = dataset.elements[tag], view = new DataView(dataset.byteArray.buffer, dataset.byteArray.byteOffset);
  const read = reader(view, image);
  return (number) => {
    if (!(number >= 0 && number < count)) throw new RangeError(`no frame ${number}`);
    const start = held.dataOffset + number * size * samples * bytes;
    const one = (at, sample) => (image.planar ? sample * size + at : at * samples + sample);
    const values = new Float64Array(size);
    for (let at = 0; at < size; at++) {
      let sum = 0;
      for (let sample = 0; sample < samples; sample++) sum += read(start + one(at, sample) * bytes);
      values[at] = samples > 1 ? Math.fround(sum / samples) : sum;
    }
    return values;
  };
}

/** Return a function: the number at a place in the file; bits beyond those stored do not count. */
function reader(view, { tag, allocated, stored, signed, bigEndian }) {
  if (tag === TAG.float) return (at) => view.getFloat32(at, !bigEndian);
  if (tag === TAG.double) return (at) => view.getFloat64(at, !bigEndian);
  const raw = { 8: (at) => view.getUint8(at), 16: (at) => view.getUint16(at, !bigEndian),
    32: (at) => view.getUint32(at, !bigEndian) }[allocated];
  const spare = 32 - stored;
  return signed ? (at) => (raw(at) << spare) >> spare : (at) => (raw(at) << spare) >>> spare;
}

/** Return a frame with slope and intercept applied, MONOCHROME1 inverted, padding NaN. */
function rescaled(dataset, image, stored, number) {
  const padding = paddingOf(dataset, image);
  const factor = (key, usual) => {
    const [value] = numbers(dataset, TAG[key], 1, number);
    if (dataset.elements[TAG[key]]?.length && (Number.isNaN(value) || (key === "slope" && value === 0))) {
      throw new ReadingError(`its rescale ${key} is ${value === 0 ? "0" : "no number"}; export it again`);
    }
    return Number.isNaN(value) ? usual : value;
  };
  const slope = factor("slope", 1), intercept = factor("intercept", 0);
  let pixels = Float32Array.from(stored, (value) => value * slope + intercept);
  if (!pixels.every(Number.isFinite)) throw new ReadingError("its pixels are no finite numbers; export it again");
  if (image.photometric === "MONOCHROME1") {
    const [low, high] = pixels.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    const both = Math.fround(high + low);
    pixels = pixels.map((value) => both - value);
  }
  stored.forEach((value, at) => { if (value >= padding[0] && value <= padding[1]) pixels[at] = NaN; });
  return { rows: image.rows, cols: image.cols, pixels };
}

/** Return the least and the greatest stored value that mean "nothing was measured". */
function paddingOf(dataset, { samples, signed, stored }) {
  const value = wholeNumber(dataset, TAG.padding, signed), limit = wholeNumber(dataset, TAG.paddingLimit, signed);
  if (value === undefined || samples > 1) return [Infinity, -Infinity];
  let ends = [value, limit ?? value];
  if (signed) ends = ends.map((end) => (end >= 2 ** (stored - 1) ? end - 2 ** stored : end));
  return [Math.min(...ends), Math.max(...ends)];
}

function wholeNumber(dataset, tag, signed) {
  const element = dataset.elements[tag];
  if (!element || element.length !== 2) return undefined;
  const negative = element.vr === "SS" || (!["US", "SS"].includes(element.vr) && signed);
  return negative ? dataset.int16(tag) : dataset.uint16(tag);
}

/** Return row and column spacing in mm, NaN where the file does not tell. */
function spacingMm(dataset, number) {
  return numbers(dataset, TAG.spacing, 2, number).map((each) => (each > 0 && each < 1000 ? each : NaN));
}

/** Return a tag's numbers, decimal commas read, too; NaN each where it is missing or no number. */
function numbers(dataset, tag, count, number) {
  for (const place of placesOf(dataset, number)) {
    const words = (text(place, tag) ?? "").split(/[\\;\s]+/).map((word) => word.replace(",", "."));
    if (words.length === count && words.every((word) => NUMBER.test(word))) return words.map(Number);
  }
  return Array(count).fill(NaN);
}

/** Where a tag may stand: at the top, or in the groups of a frame (enhanced images). */
function placesOf(dataset, number) {
  const groups = [dataset.elements[TAG.perFrame]?.items?.[number], dataset.elements[TAG.shared]?.items?.[0]];
  const inside = groups.filter(Boolean).flatMap(({ dataSet }) => Object.values(dataSet.elements));
  return [dataset, ...inside.map((element) => element.items?.[0]?.dataSet).filter(Boolean)];
}

function text(dataset, tag) {
  const value = dataset.elements[tag]?.length ? dataset.string(tag) : undefined;
  return value?.replace(/\0/g, "").trim();
}

/** Return "MR", "screenshot", "localiser" or a modality such as "CT"; "" for what holds no picture at all. */
function kindOf(dataset) {
  const sopClass = text(dataset, TAG.sopClass) ?? "";
  const modality = (text(dataset, TAG.modality) ?? "").toUpperCase().replace(/\W/g, "").slice(0, 10);
  const isMr = MR_CLASSES.includes(sopClass);
  if (NO_PICTURE.test(sopClass) || (NO_PICTURES.includes(modality) && !isMr)) return "";
  if (SCREENSHOT.test(sopClass)) return "screenshot";
  if (!isMr && !["", "MR", "OT"].includes(modality)) return modality;
  return (text(dataset, TAG.imageType) ?? "").toUpperCase().includes("LOCALIZER") ? "localiser" : "MR";
}
