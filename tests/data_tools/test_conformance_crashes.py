"""Every command goes on after a crash at any of its renames to the same bytes, and leaves no more.

Kills at random moments seldom meet the short time between a temporary file and its rename; here
each run ends right before one, as a SIGKILL would end it: nothing is caught and nothing tidied up.
"""

import itertools
import multiprocessing
import os

import pytest

from tests.data_tools.conformance import CASES, by_name, run, same
from tests.data_tools.trees import files

_CRASHED = 77
_MOST = 300  # crashes of a case; more would mean that its runs do not get further

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.data_tools.conformance", "tests.data_tools.test_score"])


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_crashed_runs_go_on_to_the_same(case, world, expected, tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    case.prepare(world, folder)
    arguments = [str(one) for one in (*case.arguments(folder), "--executor", "serial")]
    rename, met = 1, set()
    while (target := _crash(arguments, rename, tmp_path / "target")) is not None:
        rename += target in met  # this run got no further than an earlier one
        met.add(target)
        assert rename < _MOST
    assert met
    found = {name: data.replace(os.fsencode(folder), b"") for name, data in files(folder).items()}
    same(found, expected(case))


def _crash(arguments, rename, told):
    """The file that a run did not get to rename; None where it ended by itself."""
    child = _processes.Process(target=_run_until, args=(arguments, rename, told))
    child.start()
    child.join()
    if child.exitcode == 0:
        return None
    assert child.exitcode == _CRASHED
    return told.read_text()


def _run_until(arguments, rename, told):
    """Run a command that ends without a word before its given rename, counted from 1."""
    replace, left = os.replace, itertools.count(rename - 1, -1)

    def crash(source, target, **options):
        if next(left) == 0:
            told.write_text(os.fspath(target))
            os._exit(_CRASHED)
        replace(source, target, **options)

    os.replace = crash
    run(arguments)
