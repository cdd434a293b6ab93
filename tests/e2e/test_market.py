"""Five services and a worker, released under load: nothing dropped, nothing wrong. A part of the proof."""

import shutil
import subprocess
import sys
from os import geteuid
from pathlib import Path

import pytest

PROOF = Path(__file__).parents[2] / "proofs" / "market.py"


@pytest.mark.timeout(600)  # a bound for what hangs; it takes a minute where nothing else runs
def test_a_new_gateway_never_meets_an_old_catalogue_and_no_order_is_lost() -> None:
    if shutil.which("mmdebstrap") is None or geteuid() != 0:
        pytest.skip("making a Debian head needs root and mmdebstrap")
    command = [sys.executable, str(PROOF), "--releases", "2", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
