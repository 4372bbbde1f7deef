"""Collectives over real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vlp import dist

ROOT = Path(__file__).parents[2]
ON_RANK = """
import sys
import torch
import torch.distributed
from vlp import dist

torch.distributed.init_process_group("gloo")
sizes, rank = [int(size) for size in sys.argv[2:]], dist.rank()
rows = torch.arange(sizes[rank] * 3, dtype=torch.float32).view(-1, 3) + 100 * rank
found = dist.gather_rows(rows), dist.gather_rows(rows[:, 0].long()), dist.gather_objects(rank)
torch.save(found, f"{sys.argv[1]}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("sizes", [(2, 3), (0, 2), (3, 0), (0, 0)])
def test_rows_of_all_ranks_in_rank_order(tmp_path: Path, sizes: tuple[int, int]) -> None:
    script = tmp_path / "on_rank.py"
    script.write_text(ON_RANK)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = subprocess.run(
        [*launcher, str(script), str(tmp_path), *map(str, sizes)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    expected = torch.cat(
        [
            torch.arange(size * 3, dtype=torch.float32).view(-1, 3) + 100 * rank
            for rank, size in enumerate(sizes)
        ]
    )
    for rank in range(2):
        rows, numbers, ranks = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(rows, expected)
        assert torch.equal(numbers, expected[:, 0].long())
        assert ranks == [0, 1]


def test_alone_everything_is_what_was_given() -> None:
    rows = torch.ones(2, 3)
    assert dist.gather_rows(rows) is rows
    assert dist.gather_objects("a") == ["a"]
