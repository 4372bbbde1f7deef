"""Devices by name."""

import pytest
import torch

from vlp.device import checked_device
from vlp.errors import InputError


def test_the_default_is_a_gpu_if_there_is_one(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert checked_device(None) == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert checked_device(None) == torch.device("cuda")
    assert checked_device("cuda:1") == checked_device(torch.device("cuda:1"))


@pytest.mark.parametrize("name", ["gpu", "cuda:2", "mps:9", "meta", "", "cpu:1", "cuda:x"])
def test_what_is_not_there_is_answered_with_the_choices(monkeypatch, name):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(InputError, match=rf"device '{name}': choices are cpu, cuda:N"):
        checked_device(name)
