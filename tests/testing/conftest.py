"""What cannot be collected without torch."""

import importlib.util

if importlib.util.find_spec("torch") is None:
    collect_ignore = ["test_tensor_cores.py"]
