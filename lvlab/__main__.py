"""The command line: `python -m lvlab COMMAND`. One short function per command; the rooms do the work."""

import contextlib
import os
import sys

with contextlib.suppress(OSError):  # where the folder that one is in is gone
    if __name__ == "__main__" and sys.path[0] in ("", os.getcwd()):
        sys.path.append(sys.path.pop(0))  # a keras.py of the user's own, in the folder they are in, is not Keras
os.environ["MPLBACKEND"] = "agg"      # pictures go to files: no window, whatever is set

import argparse
import logging
import signal
from dataclasses import replace
from pathlib import Path

from lvlab import __version__
from lvlab.errors import CourseError
from lvlab.store.files import find, one_line, output, remedy

MOST_PATIENTS, MOST_FRAMES = 10_000, 100


#: What an interrupted command says of going on.
GOES_ON = {**dict.fromkeys(("figures", "report", "segment"), "; call it again and it goes on"),
           **dict.fromkeys(("train", "crossval"), "; what is finished is kept: call it again with --resume")}


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see: {self.prog} --help)\n")


def phantom(args):
    """Write a phantom course folder."""
    from lvlab import phantom

    if not 1 <= args.patients <= MOST_PATIENTS:
        raise CourseError(f"patients is {args.patients}; 1 to {MOST_PATIENTS} are possible", ["patients"])
    if args.frames and not 2 <= args.frames <= MOST_FRAMES:
        raise CourseError(f"frames is {args.frames}; 2 to {MOST_FRAMES} are possible", ["frames"])
    phantom.write(output(args.out), args.patients, args.seed, quiet=args.quiet, frames=args.frames)
    print(f"Wrote {args.patients} phantom patients to {args.out}")


def check(args):
    """Audit a course folder."""
    from lvlab.commands.check import audit

    report = audit(args.folder)
    print(report)
    if args.quiet:
        print(*report.errors, sep="\n", end="\n" * bool(report.errors), file=sys.stderr)
    return 1 if report.errors else 0


def import_sunnybrook(args):
    """Make a course folder of the public Sunnybrook release."""
    from lvlab.commands import sunnybrook

    for line in sunnybrook.write(args.release, output(args.out), args.test_patients, quiet=args.quiet):
        print(line)
    print(f"Wrote {args.out}; next: python -m lvlab check {args.out}")


def import_nifti(args):
    """Make a course folder of NIfTI data with masks, such as ACDC and M&Ms."""
    from lvlab.commands import nifti

    for line in nifti.write(args.source, output(args.out), args.test_patients, args.cavity, args.quiet):
        print(line)
    print(f"Wrote {args.out}; next: python -m lvlab check {args.out}")


def deidentify(args):
    """Copy DICOM images without what says whose they are."""
    from lvlab.commands import deidentify

    for line in deidentify.write(args.source, output(args.out), quiet=args.quiet):
        print(line)
    print(f"Wrote {args.out}")


def train(args):
    """Train a U-Net on the training/ part of a course folder."""
    from lvlab.store.folder import load, need_masks
    from lvlab.store.runs import refuse_run

    recipe, out = _recipe(args.recipe, args.start, args.no_validation), output(args.out)
    refuse_run(out, args.resume, args.overwrite or args.if_needed)
    slices = load(args.data, need=("training",)).training
    if recipe.validation_fraction and len(slices) < 2:
        raise CourseError(f"{args.data}: holds one training pair; at least two are needed, one of them to validate")
    training, validation = slices.split_by_patient(recipe.validation_fraction, args.seed)
    need_masks(training, validation, recipe)
    from lvlab.store import recorded

    if args.if_needed:
        run = recorded.train_or_open(training, validation, recipe, out, seed=args.seed, quiet=args.quiet)
    else:
        run = recorded.train(training, validation, recipe, out, seed=args.seed, resume=args.resume,
                             overwrite=args.overwrite, quiet=args.quiet)
    record = run.record
    watched = (f"validation Dice {record['val_dice']:.3f} on {len(validation)} slices" if len(validation)
               else f"nobody held out of {len(training)} slices")
    print(f"Trained {args.recipe} in {record['train_seconds']:.0f} s ({record['precision']}); {watched}; run: {out}")


def evaluate(args):
    """Score a run on the test/ part of a course folder."""
    from lvlab.store.folder import load

    if not args.run and not args.out:
        raise CourseError("no run is named, so the weights that ship with lvlab are scored; name a folder for the "
                          "scores", ["out"])
    run = _run(args)
    out = _folder(args.out) if args.out else run.path
    slices = _test_slices(load(args.data, need=("test",)))
    from lvlab.commands.report import format_summary, write_scores

    _, summary = write_scores(run, slices, out)
    print(format_summary(summary))
    print(f"Wrote {out}/scores.csv and {out}/summary.json")


def segment(args):
    """Write masks of DICOM and NIfTI files, any number of them, in their original frames.

    Goes on where it was stopped.
    """
    from lvlab.clinic.dicom_seg import need_highdicom
    from lvlab.commands import segment
    from lvlab.store.masks import direction
    from lvlab.store.runs import learnt_offset

    if args.dicom_seg:
        need_highdicom()
    _say("Looking for images and starting TensorFlow: some ten seconds.")
    run = _run(args)
    if any(learnt := learnt_offset(run)):
        _say("The masks that this network learnt from lie off the edges in their images (pixels: "
             f"{direction(learnt)}); so will these.")
    found = segment.segment(run, args.paths, output(args.out), args.dicom_seg, args.workers, args.scheduler,
                            args.part, args.quiet)
    objects = f" and {found.objects:,} DICOM SEG objects" if args.dicom_seg else ""
    print(f"Wrote {found.masks:,} masks{objects} to {args.out}")
    if found.failed:
        print(f"lvlab: {found.failed:,} of {found.files:,} files could not be read; {args.out / segment.FAILURES} says "
              "why", file=sys.stderr)
    return 1 if found.failed else 0


def figures(args):
    """Score a run and write every picture and table of the report; without --run, train one where needed."""
    from lvlab.store.folder import load
    from lvlab.store.runs import open_run

    _whole_way(args)
    run, out = open_run(args.run), _folder(args.out)
    _ = run.history  # refused here if damaged, before TensorFlow is imported
    slices = _test_slices(load(args.data, need=("test",)))
    _say("Predicting, scoring and drawing: about half a minute.")
    from lvlab.commands.report import format_summary, write_report

    evidence = write_report(run, slices, out)
    print(format_summary(evidence.summary))
    print(f"Wrote the pictures and tables to {out}")


def report(args):
    """Write what figures writes, and the report itself: report.html (one file) and report.pdf.

    Of a cross-validation: over all patients, each by the fold that did not see it. Without --run, as figures does.
    """
    from lvlab.commands.crossval import Folds
    from lvlab.store.folder import load
    from lvlab.store.runs import open_run

    _whole_way(args)
    out, folds = _folder(args.out), Folds(find(args.run))
    run = folds or open_run(args.run)
    _ = run.history
    slices = load(args.data).everyone() if folds else _test_slices(load(args.data, need=("test",)))
    _say("Predicting, scoring and drawing: about a minute.")
    from lvlab.commands.document import write_document

    evidence = write_document(run, slices, out)
    print(f"Dice {evidence.summary['dice']['mean']:.3f} on {len(slices)} slices")
    print(f"Wrote {out}/report.html and {out}/report.pdf")


def export(args):
    """Write the network for other engines, as ONNX."""
    from lvlab.commands.export import need_onnx, write_onnx

    need_onnx()
    run, out = _run(args), output(args.out)
    if out.is_dir():
        raise CourseError(f"{out}: is a folder; name a file in it", ["out"])
    write_onnx(run, out)
    print(f"Wrote {args.out}")


def lab(args):
    """Open JupyterLab with the notebooks; phantom patients are made where there are no data."""
    from lvlab.commands.course import data_folder, open_lab

    return open_lab(data_folder(args.data, args.quiet), args.options)


def compare(args):
    """Compare two runs on the same slices: paired differences with an interval by patient."""
    from lvlab.store.folder import load
    from lvlab.store.runs import open_run

    runs = open_run(args.run_a), open_run(args.run_b)
    slices = _test_slices(load(args.data, need=("test",))) if args.data else None
    from lvlab.commands.compare import compare

    print(*compare(*runs, slices), sep="\n")


def doctor(args):
    """Print what a bug report needs."""
    _say("Starting TensorFlow and measuring: some ten seconds.")
    from lvlab.commands.doctor import diagnose

    print(diagnose())


def crossval(args):
    """Cross-validate recipes by patient, over the training and test patients together."""
    from lvlab.commands import crossval, workers
    from lvlab.commands.report import format_summary
    from lvlab.store.folder import load

    slices = load(args.data).everyone()
    recipes = {f"{recipe}-{start}": _recipe(recipe, start, args.no_validation)
               for recipe in args.recipe for start in args.start}
    folds, out = args.folds if args.folds == "patient" else _whole_number(args.folds), _folder(args.out)
    crossval.folds_of(slices, folds)
    with workers.open_pool(args.workers, args.scheduler) as pool:
        results = crossval.sweep(slices, recipes, out, folds, dict.fromkeys(args.seeds), args.resume, args.overwrite,
                                 args.quiet, pool, find(args.data))
    for name, (_, summary) in results.items():
        print(*[f"{name}:"] * (len(results) > 1), format_summary(summary), sep="\n")


def _whole_way(args):
    """Fill in the run, data and output that were not named: the course's own, trained here where needed."""
    from lvlab.commands.course import data_folder, pictures_folder, run_folder

    chosen = (args.recipe, args.start, args.seed)
    if args.run and chosen != ("lab", "scratch", 0):
        raise CourseError("a run is named, and its recipe, start and seed are its own; leave them out, or leave out "
                          "the run to train another", ["run"])
    named, args.data = args.data or os.environ.get("LVLAB_DATA"), data_folder(args.data, args.quiet)
    folder = run_folder(args.data, *chosen)
    if not args.out:
        usual = not (args.run or named) and chosen == ("lab", "scratch", 0)
        args.out = pictures_folder(args.run or folder, usual)
    if not args.run:
        args.run = folder
        how = {"out": folder, "if_needed": True, "resume": False, "overwrite": False, "no_validation": False}
        train(argparse.Namespace(**{**vars(args), **how}))


def _say(line):
    """Tell before a wait what is being done."""
    logging.getLogger("lvlab").info(line)


def _folder(out):
    """Return where an output folder belongs, unless a file is in its place."""
    out = output(out)
    if out.exists() and not out.is_dir():
        raise CourseError(f"{out}: is a file; name a folder for the output")
    return out


def _whole_number(text):
    try:
        return int(text)
    except ValueError:
        raise CourseError(f"folds is {text!r}; it must be the word patient or a whole number", ["folds"]) from None


def _recipe(recipe, start, no_validation=False):
    from lvlab.recipes import RECIPES
    from lvlab.store.shipped import start_weights

    if (recipe, start) not in RECIPES:
        raise CourseError(f"the recipe {recipe} starts from scratch only; choose the recipe lab to start from {start}",
                          ["recipe", "start"])
    chosen = RECIPES[recipe, start]
    start_weights(chosen)  # refused here, before anything is touched
    if no_validation and chosen.keep == "best":
        raise CourseError(f"the recipe {recipe} keeps the epoch with the lowest validation loss, so somebody is "
                          "held out; choose the recipe lab", ["recipe"])
    return replace(chosen, validation_fraction=0.0) if no_validation else chosen


def _run(args):
    """Open --run, or else the weights that ship with lvlab."""
    from lvlab.store.runs import open_run
    from lvlab.store.shipped import shipped_run

    return open_run(args.run) if args.run else shipped_run()


def _test_slices(course):
    if course.test is None:
        raise CourseError(f"{course.path}: has no folder named test; scores need test/ and test/GT/")
    return course.test


def _seed(text):
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 4294967295")
    return int(text)


def _part(text):
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part; write 4/5 for the fourth of five")
    return int(number), int(of)


def build_parser():
    """Return the parser of every command and option."""
    shared = Parser(add_help=False)
    shared.add_argument("--quiet", action="store_true", help="print errors only")
    shared.add_argument("--verbose", action="store_true", help="on an error, print the traceback too")
    parser = Parser(prog="lvlab", description=__doc__.split(".")[0] + ".")
    parser.add_argument("--version", action="version", version=f"lvlab {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def recipe_options(sub, many=None):
        sub.add_argument("--recipe", choices=["lab", "assignment"], default=["lab"] if many else "lab", nargs=many,
                         help="what to train by (default lab)")
        sub.add_argument("--start", choices=["scratch", "phantom"], default=["scratch"] if many else "scratch",
                         nargs=many, help="phantom: go on from the weights that ship with lvlab")

    def no_validation_option(sub):
        sub.add_argument("--no-validation", action="store_true",
                         help="hold nobody out to watch: the recipe lab learns from every training patient")

    def worker_options(sub):
        sub.add_argument("--workers", type=int, default=1, help="processes on this machine (default 1)")
        sub.add_argument("--scheduler", help="a Dask scheduler's address or its .json file, instead: docs/scaling.md")

    def command(function, **kwargs):
        line = function.__doc__.splitlines()[0]
        name = function.__name__.replace("_", "-")
        sub = commands.add_parser(name, help=line, description=line, parents=[shared], **kwargs)
        sub.set_defaults(function=function)
        return sub

    sub = command(phantom)
    sub.add_argument("--out", required=True, type=Path, help="a new folder")
    sub.add_argument("--patients", type=int, default=8, help="patients in all; a quarter goes to test/ (default 8)")
    sub.add_argument("--seed", type=_seed, default=0)
    sub.add_argument("--frames", type=int, default=0, help="write the whole heartbeat, too, in so many frames: cine/")
    sub = command(check)
    sub.add_argument("folder", type=Path)
    sub = command(import_sunnybrook)
    sub.add_argument("release", type=Path, help="its folder, a zip of it, or a folder of its zips")
    sub.add_argument("--out", required=True, type=Path, help="a new folder")
    sub.add_argument("--test-patients", nargs="+", default=(), metavar="ID",
                     help="such as SCD0000401 or SC-HF-I-5 (default: every fifth patient)")
    sub = command(import_nifti)
    sub.add_argument("source", type=Path, help="the data set's folder, a zip of it, or a folder of its zips")
    sub.add_argument("--out", required=True, type=Path, help="a new folder")
    sub.add_argument("--test-patients", nargs="+", default=(), metavar="ID",
                     help="such as patient101 (default: every fifth patient)")
    sub.add_argument("--cavity", type=int, metavar="LABEL",
                     help="the cavity's label (default: the one that the muscle, label 2, goes round)")
    sub = command(deidentify)
    sub.add_argument("source", type=Path, help="a DICOM file, a folder of them, or a course folder")
    sub.add_argument("--out", required=True, type=Path, help="a new folder, not inside the source")
    sub = command(train)
    sub.add_argument("--data", required=True, type=Path, help="a course folder; training/ is enough")
    sub.add_argument("--out", required=True, type=Path, help="the run folder to write")
    recipe_options(sub)
    no_validation_option(sub)
    sub.add_argument("--seed", type=_seed, default=0)
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true",
                     help="go on after the last finished epoch; start where there is none")
    how.add_argument("--overwrite", action="store_true", help="replace an existing run")
    how.add_argument("--if-needed", action="store_true", help="replace it only if recipe, seed or data changed")
    sub = command(evaluate)
    sub.add_argument("--data", required=True, type=Path, help="a course folder; test/ is enough")
    sub.add_argument("--run", type=Path, help="a run folder")
    sub.add_argument("--out", type=Path, help="write the scores here instead of into the run folder")
    sub = command(segment)
    sub.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="DICOM or NIfTI files, or folders of them")
    sub.add_argument("--out", required=True, type=Path, help="a new folder, or one where the same work was stopped")
    sub.add_argument("--run", type=Path, help="a run folder")
    sub.add_argument("--dicom-seg", action="store_true", help="write DICOM Segmentation objects, too")
    worker_options(sub)
    sub.add_argument("--part", type=_part, default=(1, 1), metavar="K/N",
                     help="the Kth of N parts only, for a batch queue: each part may be a job of its own")
    sub.add_argument("--resume", action="store_true", help="go on where it was stopped; it does so without, too")
    for function, what in ((figures, "a run folder"), (report, "a run folder, or a cross-validation's")):
        sub = command(function)
        sub.add_argument("--run", type=Path, help=f"{what} (default: runs/RECIPE-START-SEED-DATA, "
                         "trained where needed)")
        sub.add_argument("--data", type=Path, help="a course folder; test/ is enough for a run (default: the one in "
                         "data/, else phantom patients made there)")
        sub.add_argument("--out", type=Path, help="a folder (default: figures/)")
        recipe_options(sub)
        sub.add_argument("--seed", type=_seed, default=0)
    sub = command(export)
    sub.add_argument("--onnx", action="store_true", required=True, help="the format; there is no other yet")
    sub.add_argument("--out", required=True, type=Path, help="a file, such as lvlab.onnx; replaced if it exists")
    sub.add_argument("--run", type=Path, help="a run folder (default: the weights that ship with lvlab)")
    sub = command(lab)
    sub.add_argument("--data", type=Path, help="a course folder (default: as for figures)")
    sub.add_argument("options", nargs="*", metavar="-- OPTION", help="JupyterLab's own: lab -- --no-browser --port 80")
    sub = command(compare)
    sub.add_argument("run_a", type=Path, metavar="RUN_A", help="a run folder")
    sub.add_argument("run_b", type=Path, metavar="RUN_B", help="the run to compare with it")
    sub.add_argument("--data", type=Path, help="score both on this folder's test/ (default: their scores.csv)")
    sub = command(crossval)
    sub.add_argument("--data", required=True, type=Path, help="a course folder")
    sub.add_argument("--out", required=True, type=Path, help="a folder for one run a fold")
    sub.add_argument("--folds", default="patient", help="patient (leave one out) or a number of groups")
    sub.add_argument("--seeds", type=_seed, nargs="+", default=[0])
    recipe_options(sub, many="+")
    no_validation_option(sub)
    worker_options(sub)
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="keep the folds that are finished, go on with the others")
    how.add_argument("--overwrite", action="store_true", help="replace an existing cross-validation")
    command(doctor)
    return parser


@contextlib.contextmanager
def _notes(quiet):
    """Show lvlab's notes on the standard output, as it is now."""
    logger, handler = logging.getLogger("lvlab"), logging.StreamHandler(sys.stdout)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _line(error):
    """Return in one line what a person can put right, with the options that help."""
    if isinstance(error, CourseError):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in error.arguments)
        text = f"{error} ({options})" if options else str(error)
    else:
        text = f"{error.filename or 'the output'}: {error.strerror or error}; {remedy(error)}"
    return f"lvlab: {one_line(' '.join(text.split()))}"


def main(argv=None):
    """Run one command; return its exit code.

    0, 1 (check found errors, segment files that cannot be read) or 2 (an error, told in one line).
    """
    args = None
    if argv is None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is half-written goes, as at Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal of another encoding has no × or …
    try:
        parser = build_parser()
        args, unknown = parser.parse_known_args(argv)
        if unknown:
            parser.prog += f" {args.function.__name__.replace('_', '-')}"
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        with contextlib.ExitStack() as stack:
            if args.quiet:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            stack.enter_context(_notes(args.quiet))
            return args.function(args) or 0
    except SystemExit as leaving:
        return leaving.code or 0
    except KeyboardInterrupt:
        name = args.function.__name__ if args else ""
        print(f"lvlab: interrupted{GOES_ON.get(name, '')}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads, such as head, has enough
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 141  # as of a program that SIGPIPE ends
    except (CourseError, OSError) as error:
        if args and args.verbose:
            raise
        print(_line(error), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
