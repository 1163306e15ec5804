"""Where jobs run: in this process, in others on this machine, or on a Dask cluster."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import platform
import signal
import socket
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.metadata import version
from itertools import islice

from tqdm import tqdm

from lvlab.errors import CourseError

notes = logging.getLogger(__name__)

DEATHS = 3     # how often a job's process may die before the job is given up, as with Dask's allowed-failures
SECONDS = 5    # to wait for a scheduler's first answer
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
            yield running.pop(future), future


def died(error):
    """Tell whether an exception means that the job's process died again and again, rather than that the job failed."""
    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


def cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bind_threads(count):
    """Let TensorFlow, not yet imported, use so many threads; what the environment already says stays."""
    for name in THREADS:
        os.environ.setdefault(name, str(count))


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
    """Spawned processes, each a pool of one, so that the death of one is not the others'.

    A job whose process dies is begun again in a new one, DEATHS times; then it ends in BrokenProcessPool.
    Every process holds the reading end of `leash`: it ends when the other end is closed, by `shutdown`
    or by the death of this process.
    """

    def __init__(self, workers):
        if workers > cores():
            notes.info("%d workers share %d cores; more than one a core is no faster.", workers, cores())
        self.slots, self.closed = workers, False
        self.spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive fork
        self.leash, self.hold = self.spawn.Pipe(duplex=False)
        self.threads, self.own = ThreadPoolExecutor(workers, initializer=_deaf), threading.local()

    def submit(self, function, /, *args, **kwargs):
        """Queue the job for the next free process."""
        return self.threads.submit(self._run, function, args, kwargs)

    def _run(self, function, args, kwargs):
        for deaths in range(1, DEATHS + 2):
            try:
                return self._process().submit(function, *args, **kwargs).result()
            except BrokenProcessPool:
                self.own.process.shutdown(wait=False)
                self.own.process = None
                if self.closed or deaths > DEATHS:
                    raise
                notes.info("A worker process died; its job is begun again.")

    def _process(self):
        if not getattr(self.own, "process", None):
            self.own.process = ProcessPoolExecutor(
                1, self.spawn, _start, (max(1, cores() // self.slots), self.leash))
        return self.own.process

    def shutdown(self, wait=True, *, cancel_futures=False):
        """End the processes: after their jobs, or at once where `wait` is false."""
        self.closed = not wait
        if not wait:
            self.hold.close()
        self.threads.shutdown(wait=True, cancel_futures=cancel_futures)
        self.hold.close()


def _deaf():
    """Keep Ctrl-C from the processes that this thread will start, from their first moment on; POSIX only."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _start(threads, leash):
    """Make a new process ready: Ctrl-C is its parent's affair, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # tqdm's own outlives a killed process, and Python then warns of a leak
    bind_threads(threads)

    def end():
        with contextlib.suppress(EOFError, OSError):
            leash.recv_bytes()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


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
        asyncio.run(_answer(address))
        return OnDask(Client(address, timeout=SECONDS, set_as_default=False), ours=True)
    except CourseError:
        raise
    except Exception as error:  # OSError, TimeoutError, or whatever a stranger's answer leads to
        why = f" ({error})" if isinstance(error, ValueError) else ""
        raise CourseError(f"{address}: no Dask scheduler answers there{why}; name its address, such as "
                          "tcp://10.0.0.5:8786, or its scheduler file", ["scheduler"]) from error


async def _answer(address):
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
        return max(1, len(self.client.nthreads()))

    def submit(self, function, /, *args, **kwargs):
        """Send the job to the cluster."""
        return self.pool.submit(_in_turn, self.versions, partial(function, *args, **kwargs))

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Leave the cluster; jobs that still run there end when they next ask `wanted`."""
        self.pool.shutdown(wait=wait and not cancel_futures)
        if self.ours:
            self.client.close()


_TURN = threading.Lock()


def _in_turn(expected, job):
    """Run a job on a Dask worker: alone in its process, for the seeds of Keras belong to the process."""
    from distributed import get_worker

    _need_versions(expected)
    with _TURN:
        bind_threads(get_worker().state.nthreads)
        return job()


def wanted():
    """Tell, inside a job, whether somebody still waits for it: Dask cannot end one that runs."""
    if "distributed" not in sys.modules:
        return True
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:  # no Dask worker
        return True
    task = worker.state.tasks.get(worker.get_current_task())
    return task is not None and task.state == "executing"


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
