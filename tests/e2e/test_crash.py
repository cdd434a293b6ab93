"""The keeper is killed around effects of a rollout; a later command ends in the same world. A sample of the proof."""

import subprocess
import sys
from pathlib import Path

import pytest

PROOF = Path(__file__).parents[2] / "proofs" / "crash.py"


@pytest.mark.timeout(600)  # a bound for what hangs; it takes a minute where nothing else runs
def test_a_crash_at_any_effect_changes_nothing_in_the_end() -> None:
    command = [sys.executable, str(PROOF), "--sample", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
