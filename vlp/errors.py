"""The two ways a command fails: the user's input (exit code 2) or the run (exit code 1)."""


class InputError(ValueError):
    """What the user gave cannot be used; the message names the file, the field and the choices."""


class RunError(RuntimeError):
    """The work itself failed (disk full, worker killed, damaged shard); it can be run again."""
