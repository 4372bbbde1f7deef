"""Jobs of embedding in processes of their own, which end at a given place or are killed."""

import os
import signal
import socket
import time

from tests.vlp.retrieval.processes import crash_before, crashes, processes

OPERATIONS = ("replace", "rename", "unlink", "remove", "rmdir")  # what others can see
PARTITION = 3  # pictures


def content(folder):
    """{path: bytes} of all files but the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def crash(data, output, operation, command=()):
    """Do a job in a process that ends before its given operation on files, counted from 1.

    The job is that of `run_job`, or else a command of `vlp`.

    It ends as a SIGKILL would end it: nothing is caught and nothing tidied up.

    Returns:
        Whether it came to that; else the job is done.
    """
    return crashes(_run_until, data, output, operation, command)


def _run_until(data, output, operation, command):
    from tests.vlp.retrieval.embedding.running_jobs import run_command, run_job

    os.fsync = lambda descriptor: None  # the processes end, not the machine
    crash_before(operation, OPERATIONS)
    os._exit(run_command(command) if command else not run_job(data, output))


def run_ranks(data, output, ranks, kill_after=None, pause=0.0):
    """Do a job in several processes; kill all of them when so many more partitions are finished.

    Args:
        pause: seconds that reading a picture takes longer.

    Returns:
        Their exit codes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        processes.Process(target=_run_rank, args=(data, output, rank, ranks, port, pause))
        for rank in range(ranks)
    ]
    before = _finished(output)
    for child in children:
        child.start()
    while kill_after is not None and all(child.exitcode is None for child in children):
        if _finished(output) >= before + kill_after:
            for child in children:
                os.kill(child.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    for child in children:
        child.join()
    return [child.exitcode for child in children]


def _finished(output):
    return len(list(output.glob(".progress/[0-9]*.json")))


def _run_rank(data, output, rank, ranks, port, pause):
    from tests.vlp.retrieval.embedding.running_jobs import run_job

    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    run_job(data, output, pause)
