"""The parent's side of one MineRL worker: its process, its pipe, its patience, its end."""

import contextlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import uuid

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "minerl_worker.py")
_LENGTHS = struct.Struct("<II")
_SLICE = 1.0  # seconds
_CLOSE_SECONDS = 20.0  # MineRL takes a few to end Minecraft
_TAG = "PROWL_MINERL_WORKER"

# Our own Python's settings would break another one.
_OWN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__")


class Fault(Exception):
    """A game broke: another one may do better. ``trace`` is the worker's traceback, where there is one."""

    def __init__(self, reason, trace=""):
        super().__init__(" ".join(reason.split()))
        self.trace = trace


class WorkerProcess:
    """A worker in a session and a temporary directory of its own; Ctrl-C does not reach it.

    Args:
      command: the interpreter, as a list of words.

    Attributes:
      started: whether its environment has been made.

    Raises:
      ValueError: there is no such interpreter.
    """

    def __init__(self, command):
        self.directory = tempfile.mkdtemp(prefix="prowl-minerl-")
        self.started, self._spoke, self._buffer, self._tag = False, False, bytearray(), uuid.uuid4().hex
        environment = {name: value for name, value in os.environ.items() if name not in _OWN}
        environment.update(
            {_TAG: self._tag, "TMPDIR": self.directory, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        )
        try:
            with open(os.path.join(self.directory, "log.txt"), "ab") as log:
                self._process = subprocess.Popen(
                    [*command, _SCRIPT, self.directory],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise ValueError(f"cannot start {command[0]!r} as MineRL's Python: {error.strerror}") from None

    def send(self, message):
        """Send a command; that the worker is dead is told by ``receive``."""
        text = json.dumps(message).encode()
        with contextlib.suppress(OSError):
            self._process.stdin.write(_LENGTHS.pack(len(text), 0) + text)
            self._process.stdin.flush()

    def receive(self, command, seconds, silence):
        """The answer to ``command``, the next one outstanding: (header, body).

        Raises Fault when the process died, took longer than ``seconds`` or gave no sign of life for
        ``silence`` seconds, or when the environment broke, raised or could not be made.
        """
        header, body = self._wait(command, seconds, silence)
        if header["kind"] == "ok":
            self.started = True
            return header, body
        raise Fault(header["reason"], header.get("trace", ""))

    def _wait(self, command, seconds, silence):
        # Only time in which this process was running is counted, a slice at a time: after both it and
        # the worker were stopped for a while (a laptop asleep), nobody is late.
        waited = quiet = 0.0
        while True:
            for header, body in self._messages():
                self._spoke = True
                if header["kind"] != "beat":
                    return header, body
                quiet = 0.0
            if waited > seconds:
                raise Fault(f"no answer to {command} in {seconds:g} s")
            if self._spoke and quiet > silence:  # until then its Python is starting
                raise Fault(f"no sign of life for {silence:g} s in {command}")
            start = time.monotonic()
            if select.select([self._process.stdout], [], [], _SLICE)[0]:
                data = os.read(self._process.stdout.fileno(), 1 << 20)
                if not data:
                    raise Fault(self._death(command))
                self._buffer += data
            elif self._process.poll() is not None:  # a process it left behind may hold the pipe open
                raise Fault(self._death(command))
            passed = min(time.monotonic() - start, 2 * _SLICE)
            waited, quiet = waited + passed, quiet + passed

    def _messages(self):
        """Take the complete messages out of the buffer."""
        while len(self._buffer) >= _LENGTHS.size:
            header, body = _LENGTHS.unpack_from(self._buffer)
            end = _LENGTHS.size + header + body
            if len(self._buffer) < end:
                return
            text = self._buffer[_LENGTHS.size : _LENGTHS.size + header]
            frame = bytes(self._buffer[_LENGTHS.size + header : end])
            del self._buffer[:end]
            yield json.loads(text), frame

    def _death(self, command):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        last = self.log_tail(1) if command == "start" else ""  # such as the name of a missing module
        return f"it died in {command} (exit code {self._process.returncode}) {last}"

    def log_tail(self, lines=40):
        """The last lines of what the worker and its Minecraft printed."""
        with contextlib.suppress(OSError), open(os.path.join(self.directory, "log.txt"), errors="replace") as log:
            return "".join(log.readlines()[-lines:])
        return ""

    def end(self, seconds=0.0):
        """End the worker, after at most ``seconds``, and all that it started; remove its directory.

        Minecraft runs in a session of its own and may outlive a worker that was killed. It is found
        by the environment variable that it inherited (where there is a /proc; elsewhere MineRL's own
        watcher is relied on).
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        for _ in range(50):
            if self._process.poll() is None:
                self._process.kill()
            left = _tagged(self._tag)
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                break
            time.sleep(0.02)
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def end_all(workers):
    """End every worker of the list that is there, each given the time to end its Minecraft; empty the list."""
    alive = [worker for worker in workers if worker is not None]
    workers.clear()
    for worker in alive:
        worker.send({"command": "close"})
    deadline = time.monotonic() + _CLOSE_SECONDS
    for worker in alive:
        worker.end(max(0.0, deadline - time.monotonic()))


def _tagged(tag):
    """Ids of the processes whose environment holds our tag."""
    mark, found = f"{_TAG}={tag}".encode(), []
    if os.path.isdir("/proc/self"):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(name))
    return found
