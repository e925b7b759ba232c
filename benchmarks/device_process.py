"""A process that measures cases for `benchmarks.device`, and that is killed where it takes too long."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

WORKER = (sys.executable, "-m", "benchmarks.device_worker")


class Died(Exception):
    """The process ended, or was too slow to wait for; the text says which, and the last that it printed."""


class Process:
    """A running `benchmarks.device_worker`; `machine` is what it says about the machine.

    Its memory on the device is free when it is closed, with those of all processes that it started.
    """

    def __init__(self, environment: Mapping[str, str], limit_s: float) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            WORKER,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            bufsize=0,
        )
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.machine = self._wait(limit_s)
        except BaseException:
            self.close()
            raise

    def ask(self, case: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Return the answer to a case.  Raises Died if none comes within the limit; close the process then."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `_wait` says why it ended
            self._process.stdin.write(f"{json.dumps(case)}\n".encode())
        return self._wait(limit_s)

    def close(self) -> None:
        """Kill the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._answers.put(line)
        self._answers.put(None)

    def _wait(self, limit_s: float) -> dict[str, Any]:
        limit_s = max(0.0, limit_s)
        try:
            line = self._answers.get(timeout=limit_s)
        except queue.Empty:
            raise Died(f"stopped after {limit_s:.0f} s{self._last_words()}") from None
        if line is None:
            raise Died(f"the process ended with status {self._process.wait()}{self._last_words()}")
        return json.loads(line)

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1]})" if lines else ""
