"""The report as a document: what it says once, as blocks; then one template for HTML and one for PDF set them."""

import base64
import datetime
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd

from lvlab.clinic import agreement, judge, review
from lvlab.commands.report import PICTURES, caption, placement_said, write_report
from lvlab.errors import CourseError
from lvlab.store.files import one_line, output, whole_file

TEMPLATES = Path(__file__).parent / "templates"
TITLE = "Segmenting the left ventricle in short-axis cardiac MR"
LOSSES = {"dice": "soft Dice over the batch", "dice_bce": "soft Dice over the batch plus binary cross-entropy",
          "slice_dice_bce": "soft Dice over the batch and in each slice, plus binary cross-entropy"}
RULE = ("lvlab's convention: papillary muscles and trabeculae count as cavity, and so does the outflow tract up to the "
        "aortic valve; whether these masks follow it is not checked. Distances are between outlines that run between "
        "pixels: HD95 is the larger of the two directed 95th percentiles, ASSD the mean over both outlines; a slice "
        "in which nothing is predicted counts as the image's diagonal. SD is over slices. Intervals draw whole "
        "patients with replacement (2,000 bootstrap draws).")


def write_document(run, slices, out):
    """Write what `write_report` writes and, made of it, report.html (one file) and report.pdf; return the Evidence."""
    jinja2, typst = _libraries()
    out = output(out)
    evidence = write_report(run, slices, out)
    sections = content(evidence)
    made = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True,
                              undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    made.filters |= {"typst": _as_typst, "inlined": lambda name: _inlined(out / name)}
    for ending in ("html", "typ"):
        made.autoescape = ending == "html"
        text = made.get_template(f"report.{ending}.jinja").render(title=TITLE, run=one_line(run.path.name),
                                                                  sections=sections)
        with whole_file(out / f"report.{'html' if ending == 'html' else 'pdf'}") as temporary:
            if ending == "html":
                temporary.write_text(text, encoding="utf-8")
            else:
                no_date = datetime.datetime.fromtimestamp(0, datetime.UTC)
                typst.compile(text.encode(), output=str(temporary), root=str(out), format="pdf",
                              ignore_system_fonts=True, timestamp=no_date)
    return evidence


def _libraries():
    try:
        import jinja2
        import typst
    except ImportError as error:
        raise CourseError(f"the report needs the package {error.name}: pip install 'lvlab[report]'") from error
    return jinja2, typst


def content(evidence):
    """Return [(heading, blocks)]; a block is ("text", words), ("table", header, rows, caption), ("code", lines) or
    ("figure", file, caption, alt, share of the width)."""
    summary = evidence.summary
    return [
        ("Result", [_result(summary), _measures(summary), ("text", RULE), _times(evidence), *_figures(
            evidence, best=0.62, median=0.62, worst=0.62)]),
        ("Data", [_data(evidence)]),
        ("Method", [_method(evidence), _parameters(evidence), *_figures(evidence, learning_curves=0.8)]),
        ("Where it fails", [_strata(evidence), *_figures(evidence, strata=0.7, dice_by_area=0.6, failures=1)]),
        ("Agreement in the clinic's numbers", [*_function(summary), *_figures(
            evidence, area_agreement=0.6, ejection_fraction=0.6)]),
        ("How sure it is", [_review(summary), *_figures(evidence, reliability=0.45, review=0.55)]),
        ("All slices", _figures(evidence, overlay_grid=1)),
        ("Limitations", [("text", line) for line in _limitations(evidence)]),
        ("How to repeat it", [_versions(summary), ("code", _commands(evidence))]),
    ]


def _figures(evidence, **widths):
    return [("figure", f"{name}.png", caption(name, evidence.summary), PICTURES[name].alt, width)
            for name, width in widths.items() if PICTURES[name].needed(evidence)]


def _result(summary):
    dice = summary["intervals"]["dice"]
    if not summary["names"]:
        return "text", f"None of the {summary['n']} slices has a cavity, and none was found: there is nothing to score."
    ends = "" if np.isnan(dice["low"]) else f"; 95 % interval {dice['low']:.3f} to {dice['high']:.3f}"
    volumes = summary["dice_per_volume"]
    per_volume = f"; per volume, a patient at one phase, {volumes['mean']:.3f} (n = {volumes['n']})"
    per_volume *= bool(volumes["n"])
    good = summary["good_contours"]
    contours = "" if np.isnan(good) else f" {good:.0%} of the contours are good: within 5 mm of the truth on average."
    missed = summary["missed"]
    return "text", (
        f"Mean Dice {dice['mean']:.3f} ± {summary['dice']['sd']:.3f} per slice (n = {summary['n']} slices, "
        f"{_count(summary['patients'], 'patient')}{ends}){per_volume}. Worst slice {summary['dice']['worst']:.3f}; "
        f"{_count(missed, 'slice')} missed.{contours} {summary['caution']}".rstrip())


def _count(number, what):
    return f"{number} {what}{'s' * (number != 1)}" if number else f"no {what}"


def _measures(summary):
    rows = judge.table_of(summary)
    return ("table", ["Measure", *judge.COLUMNS], [[name, *row.values()] for name, row in rows.items()],
            f"Agreement of prediction and ground truth over {summary['n']} slices.")


def _times(evidence):
    seconds, n = evidence.summary["predict_seconds"], evidence.summary["n"]
    trained = evidence.summary["train_seconds"]
    training = f"Training took {trained:.0f} s" if isinstance(trained, int | float) else "The training time is unknown"
    precision, cpus = (evidence.run.record.get(key) for key in ("precision", "cpus"))
    where = f" ({precision or 'precision unknown'}, {cpus or 'an unknown number of'} processor cores)"
    here = platform.machine() or "this machine"
    return "text", (f"Times: {training}{where}; predicting {n} slices took {seconds:.2f} s, {1000 * seconds / n:.0f} "
                    f"ms a slice ({os.cpu_count()} cores, {here}).")


def _data(evidence):
    table, record = evidence.slices.table, evidence.run.record
    spacing = table[["row_spacing_mm", "col_spacing_mm"]].to_numpy()
    known = np.isfinite(spacing)
    pixels = (f"pixels of {spacing[known].min():.2f} to {spacing[known].max():.2f} mm" if known.any()
              else "pixels of unknown size")
    phases = table.phase.value_counts().items()
    phases = ", ".join(f"{count} at {phase or 'an unknown phase'}" for phase, count in phases)
    groups = ", ".join(sorted(set(table.group) - {""}))
    said = placement_said(evidence.summary)
    counts = [record.get(f"{part}_slices") for part in ("training", "validation")]
    trained, watched = (f"{count} slices" if isinstance(count, int) and count else "" for count in counts)
    by_patient = " No patient is both trained and validated on." if record.get("validation_patients") else (
        " Nobody was held out for validation." * (record.get("validation_slices") == 0))
    watched = f", validated on {watched}" * bool(watched)
    training = f"Trained on {trained or 'an unknown number of slices'}{watched}.{by_patient}"
    if record.get("folds"):
        training = (f"Cross-validated: {record['folds']} networks of one seed, each tested on patients that it did not "
                    "see. Curves and training time are the mean of a fold.")
    return "text", (
        f"{training} Tested on {len(table)} "
        f"slices ({phases}) of {_count(evidence.summary['patients'], 'patient')}{f' ({groups})' * bool(groups)}, "
        f"{pixels}. Each image is cut to its central {' × '.join(map(str, evidence.slices.images.shape[1:3]))} pixels; "
        "its 5th percentile of grey becomes 0, its 95th becomes 1. Mask and image are paired by name. "
        f"{said}{' ' * bool(said)}"
        f"Fingerprint of the test data: {evidence.summary['data_fingerprint']}.")


def _method(evidence):
    recipe, record = evidence.run.recipe, evidence.run.record
    grid = f" It works on squares of {recipe.grid} × {recipe.grid} pixels." * (recipe.grid > 1)
    grid += (" Each feature map is normalised (instance normalisation; Ulyanov et al. 2016, arXiv:1607.08022)."
             * (recipe.normalization == "instance"))
    rate = "a constant step size of" if recipe.schedule == "constant" else "a cosine schedule with a peak step size of"
    parameters = f", {record['parameters']:,} parameters" if isinstance(record.get("parameters"), int) else ""
    start = {"scratch": "from random weights", "phantom": "from weights trained on phantoms only"}[recipe.start]
    kept = {"best": "the lowest validation loss", "last": "the last epoch"}[recipe.keep]
    blend = f", blended by {recipe.blend:g} with those of the start" if recipe.blend < 1 else ""
    offset = " that keeps the offset of the masks" * (recipe.mask_offset == "kept")
    layers = " Only its last layer was trained." * (recipe.layers == "last")
    parts = " Of each mask only the largest connected part is kept." * (recipe.parts == "largest")
    return "text", (
        f"A U-Net (Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28) of {len(recipe.filters)} levels with "
        f"{', '.join(map(str, recipe.filters))} filters{parameters}.{grid} It was trained {start} by Adam with {rate} "
        f"{recipe.learning_rate:g} on {LOSSES[recipe.loss]}, in batches of {recipe.batch_size}, for {recipe.epochs} "
        f"epochs, each of {recipe.passes} times all slices; augmentation: {recipe.augmentation}{offset}.{layers} Kept "
        f"are the weights of {kept}{blend}. A pixel is inside where the probability is at least "
        f"{recipe.threshold:g}.{parts}")


def _parameters(evidence):
    rows = [[key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)]
            for key, value in evidence.summary["recipe"].items()]
    half = -(-len(rows) // 2)
    pairs = [left + right for left, right in zip(rows[:half], rows[half:] + [["", ""]] * (len(rows) % 2), strict=True)]
    return "table", ["Parameter", "Value", "Parameter", "Value"], pairs, "Every parameter, from the run's recipe.json."


def _strata(evidence):
    rows = []
    for part in review.strata(evidence.scores, evidence.slices.table).itertuples():
        good = "-" if np.isnan(part.good) else f"{part.good:.0%}"
        rows.append([part.what, part.part, str(part.n), f"{part.dice:.3f}", f"{part.worst:.3f}", str(part.missed),
                     good])
    return ("table", ["By", "Part", "n", "Mean Dice", "Worst", "Missed", "Good contours"], rows,
            "Parts of the test slices, where they are known.")


def _function(summary):
    area = summary["area_cm2"]
    if area["n"]:
        limits = f", 95 % limits of agreement {area['low']:+.1f} to {area['high']:+.1f}" if area["n"] > 1 else ""
        yield "text", f"Areas, prediction - truth: bias {area['bias']:+.2f} cm²{limits} (n = {area['n']} slices)."
    function = pd.DataFrame(summary["function"])
    if function.empty:
        yield "text", ("No ejection fraction: no patient's slices form a stack at end-diastole and end-systole (three "
                       "slices or more with known positions, at most 25 mm apart).")
        return
    rows = [[row.patient, *(f"{getattr(row, f'{part}_{who}'):.0f}" for part in ("edv_ml", "esv_ml", "ef_percent")
                            for who in ("true", "pred")), f"{row.ef_percent_pred - row.ef_percent_true:+.1f}"]
            for row in function.itertuples()]
    header = ["Patient", "EDV true", "EDV pred.", "ESV true", "ESV pred.", "EF true", "EF pred.", "Difference"]
    yield ("table", header, rows, "Volumes in ml by summing discs over the labelled slices, and ejection fractions "
           "in %; true is what the expert's contours give.")
    ef = summary["ejection_fraction"]
    limits = f", 95 % limits {ef['low']:+.1f} to {ef['high']:+.1f}" if ef["n"] > 1 else ""
    few = ": too few patients for limits to be trusted" if 1 < ef["n"] < agreement.FEW_PATIENTS else ""
    yield "text", (
        f"Ejection fraction, prediction - truth: bias {ef['bias']:+.1f} points{limits} (n = {ef['n']}{few}). For "
        "scale: seven core laboratories reading the same fifteen hearts differed by 4.6 to 7.5 points (Suinesiaputra "
        "et al. 2015, doi:10.1186/s12968-015-0170-9).")


def _review(summary):
    found = summary["review"]
    failed = found["under_0.7"]
    if not failed:
        return "text", "No slice has a Dice under 0.7, so there is no failure for a reviewer to find."
    return "text", (
        f"{_count(failed, 'slice')} of {summary['n']} under Dice 0.7. Looking at the least sure 10 % of the slices "
        f"finds {found['caught_in_10%']} of them, at 20 %: {found['caught_in_20%']}. How sure: the Dice that the "
        "network's own probabilities promise, less for whatever no heart does (pieces, jumps between levels, growth "
        "from end-diastole to end-systole).")


def _limitations(evidence):
    summary = evidence.summary
    yield (f"The test has {summary['n']} slices of {_count(summary['patients'], 'known patient')}. "
           + (summary["caution"] or "The interval tells how far the mean would move with other patients like these."))
    yield ("Only the cavity of the left ventricle is segmented: no wall, no mass, no right ventricle. One reader's "
           "contours are the truth; where an outline belongs is a convention, on which readers differ.")
    if summary["both_empty"]:
        yield f"{_count(summary['both_empty'], 'slice')} with nothing to find and nothing found do not count."
    if len(summary["function"]) < summary["patients"]:
        yield (f"{len(summary['function'])} of {_count(summary['patients'], 'patient')} have a stack of slices at both "
               "phases; the others have no ejection fraction here.")
    if all(name.startswith("phantom-") for name in evidence.slices.patients()):
        yield "The test patients are phantoms: drawn, not scanned. Scores on real patients are another matter."


def _versions(summary):
    text = ", ".join(f"{name} {number}" for name, number in summary["versions"].items())
    return "text", f"Versions: {text}. What made each figure stands in manifest.json."


def _commands(evidence):
    recipe, record = evidence.run.recipe, evidence.run.record
    name = one_line(evidence.run.path.name)
    train, out = ("crossval", "--seeds") if record.get("folds") else ("train", "--seed")
    lines = [f"python -m lvlab report --run runs/{name} --data DATA --out figures/{name}"]
    if recipe.name in ("lab", "assignment") and isinstance(record.get("seed"), int):
        folds = f" --folds {record['folds']}" if record.get("grouped") else ""
        everyone = " --no-validation" * (not recipe.validation_fraction)
        lines.insert(0, f"python -m lvlab {train} --data DATA --out runs/{name} --recipe {recipe.name} --start "
                        f"{recipe.start} {out} {record['seed']}{folds}{everyone}")
    return lines


def _inlined(path):
    """Return a PNG as a data address, so that the page is one file."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _as_typst(text):
    """Return text as a Typst string literal."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
