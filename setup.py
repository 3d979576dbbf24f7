"""Builds the C kernels where there is a compiler; without one the package installs all the same and is slower."""

from setuptools import Extension, setup

# -O3 would unroll the lanes of the generator into half their speed (docs/developer/decisions.md)
FLAGS = ["-O2", "-Wno-psabi", "-pthread"]
FOLDER = "deepbelief/native"
KERNELS = Extension(
    "deepbelief.native._kernels",
    [f"{FOLDER}/{name}.c" for name in ("_narrow", "_wide", "_threads")],
    depends=[
        f"{FOLDER}/{name}"
        for name in ("_vectors.h", "_threads.h", "_draws.c", "_products.c", "_sixteen.c", "_update.c")
    ],
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
    optional=True,
)

setup(ext_modules=[KERNELS])
