"""The learning rate, against open_clip's and by its shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip_train import scheduler

from training.config import ScheduleConfig
from training.schedule import learning_rate


class Group(dict):
    """What open_clip's schedulers write to."""

    def __init__(self):
        super().__init__(lr=0.0)
        self.param_groups = [self]


@given(
    warmup=st.integers(1, 30),
    rest=st.integers(1, 50),
    batch=st.integers(1, 64),
    lr=st.floats(1e-6, 1),
)
def test_cosine_equals_open_clips(warmup, rest, batch, lr):
    steps = warmup + rest
    config = ScheduleConfig(warmup=warmup * batch)
    group = Group()
    theirs = scheduler.cosine_lr(group, lr, warmup, steps)
    for step in range(steps):
        ours = learning_rate(config, lr, seen=step * batch, batch=batch, total=steps * batch)
        theirs(step)
        assert ours == pytest.approx(group["lr"], rel=1e-9, abs=1e-12)


def test_constant_with_cooldown():
    config = ScheduleConfig(kind="constant_cooldown", warmup=20, cooldown=40)

    def at(seen):
        return learning_rate(config, 1.0, seen=seen, batch=10, total=100)

    assert [at(s) for s in range(0, 100, 10)] == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert learning_rate(ScheduleConfig(kind="constant"), 1.0, seen=99, batch=1, total=100) == 1.0
