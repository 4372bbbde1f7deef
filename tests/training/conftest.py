"""A run in this process, as the command line starts it."""

import pytest
from accelerate.state import AcceleratorState

from tests.training.runs import write_recipe
from training.train import main


@pytest.fixture
def trained(tmp_path, tiny_arch, shards, capfd):
    """Run `training.train` in this process: (exit status, standard error)."""

    def run(*options, source=shards, **changes):
        recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, source, **changes)
        status = main(["--config", str(recipe), *options])
        AcceleratorState._reset_state(reset_partial_state=True)
        return status, capfd.readouterr()

    return run
