"""The command line: `python -m lvlab COMMAND`. One short function per command; the rooms do the work."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from lvlab import __version__
from lvlab.files import CourseError, output


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see: {self.prog} --help)\n")


def phantom(args):
    """Write a phantom course folder."""
    from lvlab import phantom

    if args.patients < 1:
        raise CourseError(f"--patients is {args.patients}; at least 1 is needed")
    phantom.write(output(args.out), args.patients, args.seed, quiet=args.quiet)
    print(f"Wrote {args.patients} phantom patients to {args.out}")


def check(args):
    """Audit a course folder."""
    from lvlab.audit import check

    lines, findings = check(args.folder)
    print("\n".join(lines))
    for finding in findings:
        print(f"{finding.level}: {finding.text}")
    errors = sum(finding.level == "error" for finding in findings)
    print(f"{errors} errors, {len(findings) - errors} warnings")
    return 1 if errors else 0


def train(args):
    """Train a U-Net on the training/ part of a course folder."""
    from lvlab.folder import load
    from lvlab.recipes import RECIPES

    recipe, out = RECIPES[args.recipe], output(args.out)
    slices = load(args.data, need=("training",)).training
    training, validation = slices.split_by_patient(recipe.validation_fraction, args.seed)
    from lvlab import training as trainer

    if args.if_needed:
        run = trainer.train_or_open(training, validation, recipe, out, seed=args.seed, quiet=args.quiet)
    else:
        run = trainer.train(training, validation, recipe, out, seed=args.seed, resume=args.resume,
                            overwrite=args.overwrite, quiet=args.quiet)
    record = run.record
    print(f"Trained {args.recipe} in {record['train_seconds']:.0f} s ({record['precision']}); "
          f"validation Dice {record['val_dice']:.3f} on {len(validation)} slices; run: {out}")


def evaluate(args):
    """Score a run on the test/ part of a course folder."""
    from lvlab.folder import load
    from lvlab.runs import open_run

    run = open_run(_need_run(args))
    slices = _test_slices(load(args.data, need=("test",)))
    from lvlab.evaluation import format_summary
    from lvlab.report import write_scores

    out = output(args.out) if args.out else run.path
    _, summary = write_scores(run, slices, out)
    print(format_summary(summary))
    print(f"Wrote {out}/scores.csv and {out}/summary.json")


def segment(args):
    """Write masks of DICOM files, in their original frames, as PNG."""
    from lvlab.runs import open_run
    from lvlab.segmenting import gather, write_masks

    run, files = open_run(_need_run(args)), gather(args.paths)
    count = write_masks(run, files, output(args.out), args.quiet)
    print(f"Wrote {count} masks to {args.out}")


def figures(args):
    """Score a run and write every picture and table of the report."""
    from lvlab.folder import load
    from lvlab.runs import open_run

    run = open_run(args.run)
    slices = _test_slices(load(args.data, need=("test",)))
    from lvlab.evaluation import format_summary
    from lvlab.report import write_report

    _, summary = write_report(run, slices, args.out)
    print(format_summary(summary))
    print(f"Wrote the pictures and tables to {output(args.out)}")


def doctor(args):
    """Print what a bug report needs."""
    from lvlab.doctor import diagnose

    print(diagnose())


def _need_run(args):
    if not args.run:
        raise CourseError("no weights ship with lvlab yet; train first and name the run with --run DIR")
    return args.run


def _test_slices(course):
    if course.test is None:
        raise CourseError(f"{course.path}: has no folder named test; scores need test/ and test/GT/")
    return course.test


def build_parser():
    """Return the parser of every command and option."""
    shared = Parser(add_help=False)
    shared.add_argument("--quiet", action="store_true", help="print errors only")
    shared.add_argument("--verbose", action="store_true", help="on an error, print the traceback too")
    parser = Parser(prog="lvlab", description=__doc__.split(".")[0] + ".")
    parser.add_argument("--version", action="version", version=f"lvlab {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def command(function, **kwargs):
        line = function.__doc__.splitlines()[0]
        sub = commands.add_parser(function.__name__, help=line, description=line, parents=[shared], **kwargs)
        sub.set_defaults(function=function)
        return sub

    sub = command(phantom)
    sub.add_argument("--out", required=True, type=Path, help="a new folder")
    sub.add_argument("--patients", type=int, default=8, help="patients in all; a quarter goes to test/ (default 8)")
    sub.add_argument("--seed", type=int, default=0)
    sub = command(check)
    sub.add_argument("folder", type=Path)
    sub = command(train)
    sub.add_argument("--data", required=True, type=Path, help="a course folder; training/ is enough")
    sub.add_argument("--out", required=True, type=Path, help="the run folder to write")
    sub.add_argument("--recipe", choices=["lab", "assignment"], default="lab")
    sub.add_argument("--start", choices=["scratch"], default="scratch")
    sub.add_argument("--seed", type=int, default=0)
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    how.add_argument("--overwrite", action="store_true", help="replace an existing run")
    how.add_argument("--if-needed", action="store_true", help="replace it only if recipe, seed or data changed")
    sub = command(evaluate)
    sub.add_argument("--data", required=True, type=Path, help="a course folder; test/ is enough")
    sub.add_argument("--run", type=Path, help="a run folder")
    sub.add_argument("--out", type=Path, help="write the scores here instead of into the run folder")
    sub = command(segment)
    sub.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="DICOM files or folders of them")
    sub.add_argument("--out", required=True, type=Path)
    sub.add_argument("--run", type=Path, help="a run folder")
    sub = command(figures)
    sub.add_argument("--run", required=True, type=Path, help="a run folder")
    sub.add_argument("--data", required=True, type=Path, help="a course folder; test/ is enough")
    sub.add_argument("--out", required=True, type=Path)
    command(doctor)
    return parser


def main(argv=None):
    """Run one command; return its exit code: 0, 1 (check found errors) or 2 (an error, told in one line)."""
    args = None
    try:
        args = build_parser().parse_args(argv)
        with contextlib.ExitStack() as stack:
            if args.quiet:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            return args.function(args) or 0
    except SystemExit as leaving:
        return leaving.code or 0
    except KeyboardInterrupt:
        print("lvlab: interrupted; a training goes on with --resume", file=sys.stderr)
        return 130
    except (CourseError, OSError) as error:
        if args and args.verbose:
            raise
        print(f"lvlab: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
