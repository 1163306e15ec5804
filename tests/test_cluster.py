"""Jobs in other processes and on a Dask cluster: workers die, and every result is as if none had."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lvlab
from lvlab.__main__ import main
from lvlab.commands import crossval, workers
from lvlab.errors import CourseError
from lvlab.recipes import LAB
from lvlab.store.runs import HISTORY, LOCK
from tests import jobs

TINY = replace(LAB, filters=(2,), augmentation="none", epochs=4, passes=1, precision="float32")


@pytest.fixture
def pool(monkeypatch):
    for name in workers.THREADS:  # tests/conftest.py sets one of them
        monkeypatch.delenv(name, raising=False)
    with workers.open_pool(2) as pool:
        yield pool


def test_the_death_of_a_process_costs_its_own_job_a_new_start_and_the_others_nothing(pool, tmp_path):
    tasks = [(tmp_path / "mark", number) for number in range(5)]
    results = {job: future.result() for job, future in workers.finished(pool, jobs.die_once, tasks)}
    threads = str(max(1, workers.cores() // 2))
    assert results == {job: (job[1], threads) for job in tasks}


def test_a_job_that_kills_each_of_its_processes_is_given_up_and_an_error_comes_back_as_it_was(pool):
    (_, future), = workers.finished(pool, jobs.die, [()])
    assert workers.died(future.exception())
    (_, future), = workers.finished(pool, jobs.fail, [("bad luck",)])
    assert str(future.exception()) == "bad luck" and future.exception().arguments == ("data",)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(how):
    script = ("import time\nfrom lvlab.commands import workers\nwith workers.open_pool(2) as pool:\n"
              "    list(workers.finished(pool, time.sleep, [(60,), (60,)]))")
    parent = psutil.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # background jobs ignore it
    while len(children := parent.children()) < 2:
        time.sleep(0.05)
    parent.send_signal(how)
    _, alive = psutil.wait_procs([parent, *children], timeout=20)
    assert alive == []


class Reordered(Executor):
    """Ends its jobs in a given order, once all of them are there."""

    def __init__(self, order):
        self.order, self.waiting, self.slots = order, [], len(order)

    def submit(self, function, /, *args, **kwargs):
        self.waiting.append((Future(), function, args))
        if len(self.waiting) == self.slots:
            for number in self.order:
                future, function, args = self.waiting[number]
                workers.InThisProcess().submit(function, *args).add_done_callback(
                    lambda done, future=future: future.set_result(done.result()))
        return self.waiting[-1][0]


def plan(path, count=4):
    return [crossval.Fold(path / f"seed0-fold-{n}", path, "", TINY, 0, f"fold-{n}", ()) for n in range(count)]


def pretended(fold):
    return pd.DataFrame({"dice": [0.5], "train_seconds": [1.0], "fold": [fold.name]})


@given(st.permutations(range(4)))
def test_the_table_does_not_depend_on_which_fold_ends_first(order):
    folds = plan(Path("nowhere"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval, "train_fold", pretended)
        tables = crossval.run_folds(folds, Reordered(order), quiet=True)
    assert [table.fold[0] for table in tables] == [fold.name for fold in folds]


def test_a_fold_that_fails_is_named_and_the_others_finish(tmp_path, monkeypatch):
    trained = []

    def train(fold):
        trained.append(fold.name)
        return pretended(fold) if fold.name != "fold-1" else 1 / 0

    monkeypatch.setattr(crossval, "train_fold", train)
    with pytest.raises(CourseError, match="1 of 3 folds failed: seed0-fold-1; seed0-fold-1: ZeroDivisionErr") as error:
        crossval.run_folds(plan(tmp_path, 3), workers.InThisProcess(), quiet=True)
    assert trained == ["fold-0", "fold-1", "fold-2"] and error.value.arguments == ("resume",)


def test_a_fold_whose_workers_die_goes_on_as_long_as_it_gets_on(tmp_path, monkeypatch):
    begun = []

    def train(fold):
        begun.append(fold.name)
        if fold.name == "fold-0" and len(begun) < 5:
            fold.path.mkdir(exist_ok=True)
            (fold.path / HISTORY).write_text("header\n" + "an epoch\n" * len(begun))
        raise workers.WorkerDied

    monkeypatch.setattr(crossval, "train_fold", train)
    with pytest.raises(CourseError, match="2 of 2 folds failed: .*seed0-fold-1: its process died each time"):
        crossval.run_folds(plan(tmp_path, 2), workers.InThisProcess(), quiet=True)
    assert begun == ["fold-0", "fold-1", "fold-0", "fold-0", "fold-0"]


class Gone(workers.InThisProcess):
    """A cluster that goes away with its first job."""

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_a_cluster_that_goes_away_is_said():
    with pytest.raises(CourseError, match="the Dask scheduler has gone away"):
        list(workers.finished(Gone(), print, [()]))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense"])
def test_a_scheduler_that_does_not_answer_is_said_in_one_line_and_nothing_is_written(
        address, phantom_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS", 1)
    command = ["crossval", "--data", phantom_folder, "--out", tmp_path / "new", "--scheduler", address]
    assert main([*map(str, command)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lvlab: {address}: no Dask scheduler answers there") and said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_worker_with_other_versions_is_refused():
    workers._need_versions(workers._versions())
    with pytest.raises(CourseError, match="has keras .* instead of 2.0; install the same versions"):
        workers._need_versions({**workers._versions(), "keras": "2.0"})


@pytest.fixture(scope="module")
def course(phantom_folder):
    return lvlab.load(phantom_folder).everyone()


@pytest.fixture(scope="module")
def one_after_the_other(course, tmp_path_factory):
    return crossval.cross_validate(course, TINY, tmp_path_factory.mktemp("cv") / "here", folds=2, quiet=True)[0]


@pytest.fixture(params=[pytest.param("processes", marks=pytest.mark.slow), "cluster"])
def place(request):
    """Arguments of `open_pool`, and how to find what to kill from the process that trains."""
    if request.param == "processes":
        yield {"workers": 2}, lambda process: process
        return
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=workers.cores() // 2 or 1, dashboard_address=":0") as cluster:
        yield {"scheduler": cluster.scheduler_address}, lambda process: process.parent()


def kill_who_trains(out, whom, killed):
    """Kill one worker, once the fold that it trains has finished an epoch."""
    while not killed:
        time.sleep(0.02)
        for process in psutil.Process().children(recursive=True):
            try:
                held = [Path(file.path).parent for file in process.open_files() if Path(file.path).name == LOCK]
                if held and (held[0] / HISTORY).exists():
                    whom(process).kill()
                    killed.append(held[0].name)
                    return
            except psutil.Error:
                pass


def test_a_cross_validation_of_which_a_worker_is_killed_is_complete_and_like_the_sequential_one(
        place, course, phantom_folder, one_after_the_other, tmp_path):
    (how, whom), killed = place, []
    killer = threading.Thread(target=kill_who_trains, args=(tmp_path / "cv", whom, killed))
    killer.start()
    with workers.open_pool(**how) as pool:
        table, _ = crossval.cross_validate(course, TINY, tmp_path / "cv", folds=2, quiet=True, pool=pool,
                                           data=phantom_folder)
    killer.join()
    logs = {path.name: len(list((path / "logs" / "train").iterdir())) for path in (tmp_path / "cv").glob("seed*")}
    assert logs == {"seed0-fold-1": 1, "seed0-fold-2": 1} | {killed[0]: 2}  # 2: it went on, it did not start anew
    assert table[["name", "seed", "fold"]].equals(one_after_the_other[["name", "seed", "fold"]])
    np.testing.assert_allclose(table.dice, one_after_the_other.dice, atol=0.002)  # other threads add up in other order
