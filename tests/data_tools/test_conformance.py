"""Every command gives the same bytes at any number of workers and on Ray."""

import pytest

from data_tools.__main__ import COMMANDS
from tests.data_tools.conformance import CASES, by_name, same, tree


@pytest.fixture(scope="module")
def ray():
    """A real Ray on this machine, started once."""
    ray = pytest.importorskip("ray", reason="Ray is an extra")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_every_command_has_a_case():
    """`inspect` shows one sample and writes nothing."""
    assert {case.name.partition("-")[0] for case in CASES} == set(COMMANDS) - {"inspect"}


@pytest.mark.parametrize("case", CASES, ids=by_name)
@pytest.mark.parametrize("workers", [2, 7])
def test_any_number_of_workers_gives_the_same(case, workers, world, expected, tmp_path):
    same(tree(case, world, tmp_path / "c", ["--workers", workers]), expected(case))


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_ray_gives_the_same(case, world, expected, tmp_path, ray):
    same(tree(case, world, tmp_path / "c", ["--executor", "ray"]), expected(case))
