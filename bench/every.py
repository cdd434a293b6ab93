"""All measurements, one after the other; writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from figures.page import ORDER

SIZES = {"rollouts": "--rollouts", "rollback": "--rollbacks"}


def main() -> int:
    """Run each measurement in a process of its own; 1 if one failed or missed a goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in SIZES.values():
        parser.add_argument(option, type=int)
    arguments = vars(parser.parse_args())
    missed = []
    for name in ORDER:
        size = arguments.get(SIZES.get(name, "").removeprefix("--"))
        options = [SIZES[name], str(size)] if size else []
        script = Path(__file__).with_name(f"{name}.py")
        if subprocess.run([sys.executable, str(script), "--write", *options], check=False).returncode:
            missed.append(name)
    print(f"missed: {', '.join(missed)}" if missed else "every goal is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
