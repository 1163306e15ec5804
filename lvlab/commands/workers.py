"""Where jobs run: in this process, in others on this machine, or on a Dask cluster."""

import asyncio
import contextlib
import logging
import os
import pickle
import platform
import queue
import socket
import subprocess
import sys
import threading
import traceback
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import islice

from lvlab.errors import CourseError

notes = logging.getLogger(__name__)

DEATHS = 3     # how often a job's process may die before the job is given up, as with Dask's allowed-failures
SECONDS = 5    # to wait for a scheduler's first answer, or for a process to end by itself
GONE = "the Dask scheduler has gone away; start it again, then this command: what was finished is kept"
IDLE = 60      # seconds after which a process without a job ends
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextlib.contextmanager
def open_pool(workers=1, scheduler=None):
    """Yield a concurrent.futures.Executor for `finished`; leaving ends what still runs, at once.

    workers : processes on this machine; 1 is this very process, which runs a job when it is submitted
    scheduler : a Dask scheduler's address, its scheduler file (.json), or a dask.distributed Client; `workers`
        is then the cluster's affair

    Functions and arguments must be picklable, and functions importable by name.
    """
    if workers < 1:
        raise CourseError(f"workers is {workers}; it must be 1 at least", ["workers"])
    if scheduler and workers > 1:
        raise CourseError("a scheduler is named, and its cluster has workers of its own; leave one of the two out",
                          ["workers", "scheduler"])
    pool = _cluster(scheduler) if scheduler else InThisProcess() if workers == 1 else LocalProcesses(workers)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def finished(pool, function, jobs):
    """Yield (job, future) whenever one of `jobs` has ended, in any order: `function(*job)` ran in the pool.

    jobs : tuples of arguments, drawn only when a worker is free; there may be millions.
    """
    running, jobs = {}, iter(jobs)
    while True:
        for job in islice(jobs, max(0, getattr(pool, "slots", cores()) - len(running))):
            running[pool.submit(function, *job)] = job
        if not running:
            return
        for future in wait(running, timeout=2, return_when=FIRST_COMPLETED).done:  # workers may join meanwhile
            if future.cancelled():
                raise CourseError(GONE)
            yield running.pop(future), future


def died(error):
    """Tell whether an exception means that the job's process died again and again, rather than that the job failed."""
    return isinstance(error, WorkerDied) or type(error).__name__ == "KilledWorker"  # Dask's


def cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerDied(Exception):
    """The process of a job died again and again."""


class InThisProcess(Executor):
    """Runs each job here, when it is submitted."""

    slots = 1

    def submit(self, function, /, *args, **kwargs):
        """Run the job and return its finished Future."""
        future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # the job's own; whoever asks for the result gets it
            future.set_exception(error)
        return future


class LocalProcesses(Executor):
    """So many `Process`es, each with its share of the cores, so that the death of one is not the others'."""

    def __init__(self, workers):
        if workers > cores():
            notes.info("%d workers share %d cores; more than one a core is no faster.", workers, cores())
        self.slots = workers
        self.processes = [Process(max(1, cores() // workers)) for _ in range(workers)]
        self.free, self.threads = list(self.processes), ThreadPoolExecutor(workers)

    def submit(self, function, /, *args, **kwargs):
        """Queue the job for the next free process."""
        return self.threads.submit(self._run, partial(function, *args, **kwargs))

    def _run(self, job):
        process = self.free.pop()
        try:
            return process.run(job)
        finally:
            self.free.append(process)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """End the processes: after their jobs, or at once where `wait` is false."""
        for process in () if wait else self.processes:
            process.end()
        self.threads.shutdown(wait=True, cancel_futures=cancel_futures)
        for process in self.processes:
            process.end()


class Process:
    """A new Python process that runs jobs, one after the other; it starts with the first.

    It ends when its standard input is closed, which our own death does, too, and when idle for IDLE seconds.
    multiprocessing's kind would not do: Dask's workers may have none, and theirs run the user's script again.
    """

    def __init__(self, threads):
        self.threads, self.process, self.ended = threads, None, False

    def run(self, job):
        """Return what `job()` returns there, or raise what it raises; a dead process is replaced, DEATHS times."""
        job, deaths = pickle.dumps(job), 0
        while deaths <= DEATHS and not self.ended:
            try:
                good, answer = self._ask(job)
            except (EOFError, OSError, pickle.UnpicklingError):  # half an answer, or none
                if self._clear() != 0 and not self.ended:  # 0: it was idle and has left
                    deaths += 1
                    notes.info("The process of a job died (%d of %d times).", deaths, DEATHS + 1)
                continue
            if good:
                return answer
            raise answer
        raise CancelledError if self.ended else WorkerDied(f"the process of a job died {deaths} times")

    def _ask(self, job):
        if self.process is None:
            self.process = self._start()
        if self.ended:  # while it started
            raise EOFError
        pickle.dump(job, self.process.stdin)
        self.process.stdin.flush()
        return pickle.loads(pickle.load(self.process.stdout))

    def _start(self):
        apart = ({"process_group": 0} if os.name == "posix" else  # Ctrl-C is our affair alone
                 {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP})
        environment = {**dict.fromkeys(THREADS, str(self.threads)), **os.environ,
                       "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
        return subprocess.Popen([sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, **apart)

    def _clear(self):
        """End the process, if it has not ended, and return its exit code."""
        process, self.process = self.process, None
        if process is None:
            return 0
        with process.stdout, contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(SECONDS)
        process.kill()
        return process.wait()

    def end(self):
        """End the process at once, and for good."""
        self.ended = True
        process = self.process
        if process:
            process.kill()
            process.wait()


def serve():
    """Run the jobs that come through standard input, in a `Process`, until it is closed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a job prints is no answer
    jobs = queue.SimpleQueue()

    def listen():
        with contextlib.suppress(EOFError, OSError):
            while True:
                jobs.put(pickle.load(sys.stdin.buffer))
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        while True:
            pickle.dump(_answer(jobs.get(timeout=IDLE)), answers)
            answers.flush()
    os._exit(0)


def _answer(job):
    """Return, pickled, (True, what the job returns) or (False, what it raises)."""
    try:
        return pickle.dumps((True, pickle.loads(job)()))
    except Exception as error:
        error.add_note(traceback.format_exc())
        with contextlib.suppress(Exception):
            answer = pickle.dumps((False, error))
            pickle.loads(answer)
            return answer
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _cluster(scheduler):
    """Connect to a Dask cluster, see that it answers and has our versions, and return it as an Executor."""
    try:
        from distributed import Client
    except ImportError as error:
        raise CourseError("a scheduler needs Dask; install the extra: pip install 'lvlab[cluster]'",
                          ["workers"]) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters comes as an exception
    if isinstance(scheduler, Client):
        return OnDask(scheduler, ours=False)
    address = str(scheduler)
    try:
        if address.endswith(".json"):
            from lvlab.store.files import find, read_json
            address = read_json(find(address))["address"]
        asyncio.run(_ask(address))
        return OnDask(Client(address, timeout=SECONDS, set_as_default=False), ours=True)
    except CourseError:
        raise
    except Exception as error:  # OSError, TimeoutError, or whatever a stranger's answer leads to
        why = f" ({error})" if isinstance(error, ValueError) else ""
        raise CourseError(f"{address}: no Dask scheduler answers there{why}; name its address, such as "
                          "tcp://10.0.0.5:8786, or its scheduler file", ["scheduler"]) from error


async def _ask(address):
    """Ask whether a scheduler is there: a Client that found none would print tracebacks when it is thrown away."""
    from distributed.core import rpc
    from distributed.security import Security

    async with rpc(address, connection_args=Security().get_connection_args("client")) as asked:
        if (await asyncio.wait_for(asked.identity(), SECONDS))["type"] != "Scheduler":
            raise ValueError("something else does")


class OnDask(Executor):
    """A Dask client's Executor; a worker process does one job at a time with as many cores as it has threads."""

    def __init__(self, client, ours):
        self.client, self.ours = client, ours
        self.pool, self.versions = client.get_executor(pure=False), _versions()
        if not client.nthreads():
            notes.info("The Dask scheduler has no workers yet; the work begins when one comes.")
        try:
            client.run(_need_versions, self.versions)
        except ImportError as error:
            raise CourseError(f"a Dask worker cannot import lvlab ({error}); install the same lvlab there",
                              ["scheduler"]) from error

    @property
    def slots(self):
        """The number of worker processes now."""
        try:
            return max(1, len(self.client.nthreads()))
        except OSError as error:
            raise CourseError(GONE) from error

    def submit(self, function, /, *args, **kwargs):
        """Send the job to the cluster."""
        return self.pool.submit(_in_turn, self.versions, partial(function, *args, **kwargs))

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Leave the cluster; jobs that still run there end within a second or two."""
        self.pool.shutdown(wait=wait and not cancel_futures)
        if self.ours:
            self.client.close()


_TURN = threading.Lock()


def _in_turn(expected, job):
    """Run a job on a Dask worker, in a process of its own there, which ends when nobody waits for the job any more.

    In the worker's own process, other threads draw from the random numbers that Keras was given a seed for,
    and nothing could end the job.
    """
    from distributed import get_worker

    worker, key = get_worker(), get_worker().get_current_task()
    _need_versions(expected)
    with _TURN, ThreadPoolExecutor(1) as thread:
        process = _process(worker.state.nthreads)
        future = thread.submit(process.run, job)
        while not wait([future], timeout=1).done:
            task = worker.state.tasks.get(key)
            if task is None or task.state != "executing":
                process.end()
                _process.cache_clear()
        return future.result()


@lru_cache(maxsize=1)
def _process(threads):
    return Process(threads)


def _versions():
    from lvlab.store.runs import versions

    python = ".".join(platform.python_version_tuple()[:2])
    return {**versions(), "python": python, "distributed": version("distributed")}


def _need_versions(expected):
    """Raise, on a worker, where it has other versions than the client's."""
    here = _versions()
    other = [f"{name} {here[name]} instead of {wish}" for name, wish in expected.items() if here[name] != wish]
    if other:
        raise CourseError(f"the Dask worker on {socket.gethostname()} has {', '.join(other)}; install the same "
                          "versions on both sides", ["scheduler"])
