"""Load in a process of its own, so that neither side slows the other's clock down."""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
from dataclasses import asdict
from types import TracebackType
from typing import Self

from anew.errors import EngineError
from anew.testing.load import Figures, Load, from_line

MARGIN = 5.0  # seconds beyond the patience of one request


class LoadProcess:
    """A load generator that runs as long as the `with` block, its own bounds permitting."""

    def __init__(self, load: Load) -> None:
        self._load = load
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(load).items()]
        self._command = [sys.executable, "-m", "anew.testing.load", "--tied", *flags]
        self._figures = Figures()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, name="load figures")
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def figures(self) -> Figures:
        """Return the newest figures; all zero before the first have come."""
        return self._figures

    def stop(self) -> Figures:
        """Send nothing more, wait for what is in flight, and return the last figures.

        Idempotent. Blocks  for at most the patience of one request and a margin.
        Raises  EngineError if the generator failed or does not end.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(self._load.patience + MARGIN)
        except subprocess.TimeoutExpired as error:
            raise self._failure("the load generator does not end") from error
        self._reader.join()
        if not self._figures.is_final:
            raise self._failure(f"the load generator ended with exit code {self._process.returncode}")
        return self._figures

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._figures = from_line(line)

    def _failure(self, what: str) -> EngineError:
        said = self._process.stderr.read() if self._process.stderr and self._process.returncode is not None else ""
        facts = {"command": shlex.join(self._command), "output": said[-2000:]}
        return EngineError(what, hint="run the command by hand to see what it meets", facts=facts)
