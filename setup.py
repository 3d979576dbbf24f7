"""Builds the C kernels where there is a compiler; without one the package installs all the same and is slower."""

from setuptools import Extension, setup

# -O3 would unroll the lanes of the generator into half their speed (docs/developer/decisions.md)
FLAGS = ["-O2", "-Wno-psabi"]
DRAWS = Extension("deepbelief.native._draws", ["deepbelief/native/_draws.c"], extra_compile_args=FLAGS, optional=True)

setup(ext_modules=[DRAWS])
