"""Builds both wheels and installs them into fresh environments of the oldest and the newest Python of this machine.

    check_wheel.py SOURCE BUILD FAKE_DRIVER FAKE_NVRTC

The environments have nothing else: no torch, no numpy, no NVRTC. The kernels are the fake compiler's, which the fake
driver loads.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORT = """
import json, sys, time
begin = time.perf_counter()
import mhcjit
milliseconds = (time.perf_counter() - begin) * 1e3
print(json.dumps({"ms": milliseconds, "modules": sorted({"torch", "numpy"} & set(sys.modules))}))
"""
USE = """
import json, mhcjit
from importlib import metadata
print(json.dumps({
    "version": mhcjit.__version__, "counters": mhcjit.counters(),
    "needs": [need for need in metadata.requires("mhcjit") if "extra ==" not in need],
    "extras": sorted(metadata.metadata("mhcjit").get_all("Provides-Extra")),
}))
"""
FIRST_CALL = """
import ctypes, json, time
import mhcjit
from mhcjit import _engine, _library
library, operator = _library.library(), ctypes.c_void_p()
_library.check(library.mhcjit_device_open(0))
problem = _library.ProblemStruct(op=OP, n=4, d=4096, dtype=BF16, has_gamma=1)
begin = time.perf_counter()
status = library.mhcjit_prepare(_engine.engine(), problem, 1, None, operator)
milliseconds = (time.perf_counter() - begin) * 1e3
print(json.dumps({"status": mhcjit.Status(status).name, "ms": milliseconds, **mhcjit.counters()}))
"""


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def pythons():
    """The oldest and the newest Python from 3.9 on, of PATH and of pyenv."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(":")]
    folders += Path.home().glob(".pyenv/versions/*/bin")
    found = {}
    for folder in folders:
        for python in folder.glob("python3.*"):
            name = re.fullmatch(r"python3\.(\d+)(t?)", python.name)
            if name is None or int(name[1]) < 9:
                continue
            # A shim of pyenv may stand for a version that is not there.
            if subprocess.run([str(python), "-c", "import ensurepip"], capture_output=True).returncode == 0:
                found.setdefault((int(name[1]), name[2]), python)
    return [found[version] for version in sorted({min(found), max(found)})]


def value_of_enum(header, name):
    return int(re.search(rf"\b{name} = (\d+)", header)[1])


class Environment:
    """A virtual environment, whose programs see nothing of this process's environment."""

    def __init__(self, python, folder):
        self.folder = folder
        run(python, "-m", "venv", folder)

    def install(self, wheel):
        begin = time.monotonic()
        run(self.folder / "bin/python", "-m", "pip", "install", "--no-index", "--disable-pip-version-check", wheel)
        return time.monotonic() - begin

    def __call__(self, program, *arguments, **environment):
        home = tempfile.mkdtemp(dir=self.folder)
        return run(self.folder / "bin" / program, *arguments, cwd=home, env={"HOME": home, **environment})

    def python(self, code, **environment):
        return json.loads(self("python", "-c", code, **environment))


def check_package(environment, version):
    for command in (["mhcjit"], ["python", "-m", "mhcjit"]):
        assert environment(*command, "--version") == f"mhcjit {version}\n"
    imports = [environment.python(IMPORT) for _ in range(5)]
    assert min(one["ms"] for one in imports) <= 50, imports
    assert imports[0]["modules"] == []
    used = environment.python(USE)
    assert used["version"] == version and used["counters"]["misses"] == 0, used
    assert used["needs"] == [] and {"cu12", "cu13", "torch", "plot"} <= set(used["extras"]), used
    inputs = environment.folder / "in.safetensors"
    environment("mhcjit", "make-inputs", "--t", "9", "--n", "4", "--d", "64", "--seed", "1", "--std", "1", "-o", inputs)
    environment(
        "mhcjit",
        "run",
        "--inputs",
        inputs,
        "--backward",
        "--check",
        "--device",
        "cpu",
        "--outputs",
        environment.folder / "out.safetensors",
    )


def check_kernels(environment, kernels, driver, problem_numbers):
    code = [
        FIRST_CALL.replace("OP", str(op)).replace("BF16", str(problem_numbers["bf16"])) for op in problem_numbers["ops"]
    ]
    nvrtc = json.loads(environment("mhcjit", "doctor", "--json"))["nvrtc"]
    if nvrtc["path"] is None:
        without = environment.python(code[0], LD_LIBRARY_PATH=driver)
        assert without["status"] == "NO_NVRTC", without
    else:
        print(f"this machine has an NVRTC of its own, {nvrtc['path']}: it stays unused", file=sys.stderr)

    environment.install(kernels)
    caches = json.loads(environment("mhcjit", "doctor", "--json"))["read_only_caches"]
    assert [Path(cache["root"]).parts[-2:] for cache in caches] == [("mhcjit_kernels", "cache")], caches
    assert caches[0]["problem"] is None, caches
    for one in code:
        calls = [environment.python(one, LD_LIBRARY_PATH=driver) for _ in range(5)]
        for call in calls:
            assert call["status"] == "SUCCESS" and call["misses"] == 0 and call["read_only_hits"] > 0, call
            assert call["promotions"] == 0, call
        assert min(call["ms"] for call in calls) <= 10, calls

    shape = ["--n", "4", "--d", "4096", "--gamma", "--arch", "sm_90a", "--cache-dir", environment.folder / "shipped"]
    shipped = json.loads(environment("mhcjit", "warmup", *shape, "--json"))
    assert (shipped["compiled"], shipped["hits"]) == (0, 2), shipped
    assert list((environment.folder / "shipped").glob("*.mhcjit")), "what is installed is not copied to be shipped"


def main():
    source, build, fake_driver, fake_nvrtc = (Path(argument) for argument in sys.argv[1:])
    version = re.search(r"project\(mhcjit VERSION ([0-9.]+)", (source / "CMakeLists.txt").read_text())[1]
    header = "".join((source / "include/mhcjit" / name).read_text() for name in ("engine.h", "status.h"))
    numbers = {
        "bf16": value_of_enum(header, "MHCJIT_BF16"),
        "ops": [value_of_enum(header, f"MHCJIT_PRE_{op}") for op in ("FORWARD", "BACKWARD")],
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        of_build = {**os.environ, "MHCJIT_BUILD_DIR": str(build)}
        run(source / "scripts/build-wheel", work / "wheels", env=of_build)
        run(
            source / "scripts/build-wheel",
            "--kernels",
            work / "wheels",
            env={**of_build, "MHCJIT_NVRTC": str(fake_nvrtc)},
        )
        wheels = sorted(path.name for path in (work / "wheels").iterdir())
        assert wheels == [
            f"mhcjit-{version}-py3-none-manylinux_2_34_x86_64.whl",
            f"mhcjit_kernels-{version}-py3-none-any.whl",
        ], wheels
        package, kernels = (work / "wheels" / wheel for wheel in wheels)
        driver = work / "driver"
        driver.mkdir()
        (driver / fake_driver.name).symlink_to(fake_driver)
        for python in pythons():
            environment = Environment(python, work / python.name)
            seconds = environment.install(package)
            check_package(environment, version)
            check_kernels(environment, kernels, str(driver), numbers)
            print(f"{python}: installed in {seconds:.1f} s, works")


main()
