"""What all tests share."""

import os
import signal
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).parents[2] / "shared" / "data"

torch.set_num_threads(1)  # nets here are small: more threads wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # which what is run in the background is told to ignore


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Weights and draws of a test do not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder of real videos beside the checkout; tests that need it are skipped elsewhere."""
    if not SHARED.is_dir():
        pytest.skip("the real videos are not beside this checkout (../shared/data)")
    return SHARED
