"""What pyproject.toml cannot say: which modules are compiled, and what is missing where they cannot be.

Every X.py in the folders HOT with an `X.pxd` beside it is compiled by Cython from that same source. The .py is installed
too: it is what runs under BEAMLIKE_PURE=1. `nodes/ring.c`, `cells/walls.c` and `unikernels/launch.c` are C, and the build_*.py beside
them say how cffi compiles them. `make` imports this file for `require_toolchain` before there is a setuptools, hence the late imports.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from glob import glob
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from setuptools import Extension

HOT = {"beamlike/hot": [], "nodes/hot": ["nodes/ring.c"]}  # folder: C that its modules call


def require_toolchain() -> None:
    """Exit with one line that says what to install unless this interpreter can build beamlike here."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not sys.platform.startswith("linux"):
        sys.exit(f"beamlike runs on Linux only (pidfd, eventfd, memfd); this is {sys.platform}")
    if sys.version_info < (3, 11):  # noqa: UP036 (an old Python runs this file before pip looks at requires-python)
        sys.exit(f"beamlike needs Python 3.11 or newer; {sys.executable} is {version}")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    install = f"apt-get install gcc python{version}-dev (Debian, Ubuntu) or dnf install gcc python3-devel (Fedora)"
    if shutil.which(compiler) is None:
        sys.exit(f"beamlike needs a C compiler, and there is no {compiler} on the path: {install}")
    if not os.path.exists(header):
        sys.exit(f"beamlike needs the headers of Python, and there is no {header}: {install}")


def hot_extensions() -> "list[Extension]":
    """The compiled modules. A change of any .pxd or .h rebuilds them all: they include each other's."""
    from Cython.Build import cythonize
    from setuptools import Extension

    extensions = []
    for folder, sources in HOT.items():
        shared = sorted([*glob(f"{folder}/*.pxd"), *glob(f"{folder}/*.h"), *sources, *glob("nodes/*.h")])
        for path in shared:
            module, extension = os.path.splitext(path)
            if extension == ".pxd" and os.path.exists(f"{module}.py"):  # a .pxd alone only declares C, for the others to cimport
                extensions.append(
                    Extension(
                        module.replace("/", "."),
                        [f"{module}.py", *sources],
                        include_dirs=[folder, "nodes"],
                        depends=shared,
                        extra_compile_args=["-O2", "-Wall"],
                    )
                )
    compiled: list[Extension] = cythonize(extensions, build_dir="build/cython", compiler_directives={"language_level": 3})
    return compiled


if __name__ == "__main__":
    require_toolchain()
    from setuptools import setup

    setup(
        ext_modules=hot_extensions(),
        cffi_modules=[
            "nodes/build_ring.py:ffibuilder",
            "cells/build_walls.py:ffibuilder",
            "unikernels/build_launch.py:ffibuilder",
            "drivers/build_portbus.py:ffibuilder",
        ],
        options={"build_ext": {"parallel": str(os.cpu_count() or 1)}},
    )
