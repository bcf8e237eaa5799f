"""One wheel for every Python: its library and tool are native and link no Python.

scripts/build-wheel builds it, from a copy of this folder that has both in mhcjit/_native and their version in VERSION.
"""

from setuptools import Distribution, setup
from wheel.bdist_wheel import bdist_wheel


class NativeDistribution(Distribution):
    def has_ext_modules(self):
        return True


class NativeWheel(bdist_wheel):
    def get_tag(self):
        # tests/runtime/shared_library_test.cpp holds the library and the tool to this glibc.
        return "py3", "none", "manylinux_2_34_x86_64"


setup(distclass=NativeDistribution, cmdclass={"bdist_wheel": NativeWheel})
