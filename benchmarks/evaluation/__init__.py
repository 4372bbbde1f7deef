"""What `benchmarks/eval.py` measures with: the peer's environment, data, and one worker a side."""
