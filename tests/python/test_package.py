"""Importing, finding the library, errors, the tool."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import mhcjit
from mhcjit import _library

PACKAGE = Path(mhcjit.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def test_import_touches_neither_torch_nor_numpy_nor_the_library():
    code = "import sys, mhcjit; print({'torch', 'numpy', 'mhcjit._library', 'ctypes', 'typing'} & set(sys.modules))"
    assert python(code, MHCJIT_LIBRARY="/nowhere").stdout.strip() == "set()"


def test_import_takes_at_most_50_ms():
    code = "import time; begin = time.perf_counter(); import mhcjit; print(time.perf_counter() - begin)"
    assert min(float(python(code).stdout) for _ in range(5)) <= 0.05


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_sources_are_of_python_3_9(source: Path):
    ast.parse(source.read_text(), feature_version=(3, 9))


def test_the_version_is_that_of_the_build():
    assert f"project(mhcjit VERSION {mhcjit.__version__} " in (PACKAGE.parents[1] / "CMakeLists.txt").read_text()


def test_public_names_exist():
    for name in mhcjit.__all__:
        assert getattr(mhcjit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mhcjit.nothing  # noqa: B018


def test_a_library_that_is_not_there_is_named():
    failed = python("import mhcjit; mhcjit.counters()", MHCJIT_LIBRARY="/nowhere/libmhcjit.so")
    assert failed.returncode != 0
    assert "/nowhere/libmhcjit.so does not exist: install the mhcjit wheel, or set MHCJIT_LIBRARY" in failed.stderr


def test_statuses_are_those_of_the_header():
    header = (PACKAGE.parents[1] / "include/mhcjit/status.h").read_text()
    for status in mhcjit.Status:
        name = status.name if status.name == "SUCCESS" else "ERROR_" + status.name
        assert f"MHCJIT_{name} = {status.value}" in header
        assert _library.library().mhcjit_status_name(status).decode() == f"MHCJIT_{name}"
    assert len(mhcjit.Status) == header.count("  MHCJIT_ERROR_") + 1


def test_an_error_carries_status_and_text_and_can_be_pickled():
    error = _library.error_of(mhcjit.Status.NO_NVRTC, "no compiler")
    for copy in (error, pickle.loads(pickle.dumps(error))):
        assert isinstance(copy, mhcjit.Error) and not isinstance(copy, ValueError)
        assert copy.status == mhcjit.Status.NO_NVRTC and str(copy) == "no compiler"


def test_errors_are_also_those_that_python_has():
    assert isinstance(_library.error_of(mhcjit.Status.MISALIGNED_POINTER, ""), ValueError)
    assert isinstance(_library.error_of(mhcjit.Status.OUT_OF_MEMORY, ""), MemoryError)


def test_options_reach_the_engine():
    code = "import mhcjit; mhcjit.configure(cpu_threads=-1)"
    assert "cpu_threads is -1" in python(code).stderr
    code = "import mhcjit; mhcjit.configure(cpu_threads=1); print(mhcjit.counters()['misses']); mhcjit.configure()"
    done = python(code)
    assert done.stdout.strip() == "0"
    assert "mhcjit.configure: the engine exists already" in done.stderr


def test_a_kernel_that_may_not_be_compiled_is_an_error_with_its_remedy(tmp_path: Path):
    code = (
        "import mhcjit\n"
        "from mhcjit import _operator\n"
        f"mhcjit.configure(cache_dir={str(tmp_path)!r}, no_compile=True)\n"
        "try:\n"
        "    _operator.compile_for(_operator.Problem('pre_forward', 4, 64, 'bf16'), 'sm_90a')\n"
        "except mhcjit.Error as error:\n"
        "    print(error.status.name, error)\n"
    )
    assert python(code).stdout.startswith("NOT_IN_CACHE")
    assert "mhcjit warmup" in python(code).stdout


def test_the_module_runs_the_tool():
    done = subprocess.run([sys.executable, "-m", "mhcjit", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"mhcjit {mhcjit.__version__}")
    unknown = subprocess.run([sys.executable, "-m", "mhcjit", "no-such-command"], capture_output=True, text=True)
    assert unknown.returncode == 2


def test_a_child_process_has_an_engine_of_its_own():
    code = (
        "import os, numpy as np, mhcjit.numpy as m\n"
        "def run():\n"
        "    x, phi, alpha, bias = (np.ones(shape, np.float32) for shape in ((300, 2, 8), (8, 16), 3, 8))\n"
        "    return m.pre_forward(x, phi, alpha, bias).h_in.sum()\n"
        "want = run()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if run() == want else 1)\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    done = python(code)
    assert done.stdout.strip() == "0", done.stderr
