"""ONNX Runtime for the browser: three files of the npm package onnxruntime-web (MIT), and its licence."""

import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

from experiments.run.config_file import UsageError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
"""What is fetched where no folder is named; what this was tried with."""
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Of its folder dist: the script, and the WebAssembly that it loads, which needs SIMD."""
FETCH_SECONDS = 300
LICENSE = """MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
"""The licence of ONNX Runtime, which its npm package names without its text."""
NOTICE = (
    "\n{package} {version}, from https://github.com/microsoft/onnxruntime. What else is compiled into it, and under"
    "\nwhich licences: ThirdPartyNotices.txt there.\n"
)


def runtime_files(folder=None):
    """{name: bytes} of the runtime, its ``LICENSE`` among them.

    Args:
      folder: an unpacked npm package; None: it is fetched with npm, 33 MB, once more each time that npm forgot it.

    Raises:
      UsageError: the folder holds something else, or npm cannot fetch it.
    """
    if folder is not None:
        return _of_package(pathlib.Path(folder), f"--runtime={folder}")
    with tempfile.TemporaryDirectory() as scratch:
        return _of_package(_fetched(pathlib.Path(scratch)), f"{PACKAGE} of npm")


def _of_package(folder, named):
    try:
        about = json.loads((folder / "package.json").read_text())
        if about["name"] != PACKAGE:
            raise ValueError
        files = {name: (folder / "dist" / name).read_bytes() for name in FILES}
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{named} is no npm package {PACKAGE} with dist/{' and dist/'.join(FILES)}; `npm pack {PACKAGE}@{VERSION}` "
            "makes one, to be unpacked"
        ) from None
    notice = NOTICE.format(package=PACKAGE, version=about.get("version", "of an unknown version"))
    return {**files, "LICENSE": (LICENSE + notice).encode()}


def _fetched(scratch):
    """The unpacked package, in ``scratch``."""
    cure = f"fetch {PACKAGE}@{VERSION} elsewhere and name its folder: --runtime=DIR"
    npm = shutil.which("npm")
    if npm is None:
        raise UsageError(f"npm is not installed, which fetches {PACKAGE}; {cure}")
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(scratch)]
    try:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise UsageError(f"npm fetched no {PACKAGE} within {FETCH_SECONDS} s; {cure}") from None
    packed = sorted(scratch.glob("*.tgz"))
    if done.returncode or not packed:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise UsageError(f"npm could not fetch {PACKAGE} ({said[:120]}); {cure}")
    with tarfile.open(packed[0]) as archive:
        archive.extractall(scratch, filter="data")
    return scratch / "package"
