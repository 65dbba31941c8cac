"""The bundle: a zip archive, which Python imports from as it is, with the plan in it as JSON. The same plan gives the same bytes.

beamlike.json       the format's number, who made it, and the plan
beamlike-images/…   the unikernels', by their names
…                   the modules
"""

from __future__ import annotations

import io
import json
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from boot.bundle.plan import Plan
from boot.errors import BundleError, BundleVersionError

FORMAT: Final = 1
INDEX: Final = "beamlike.json"
IMAGES: Final = "beamlike-images/"  # no package can be called so
MAKER: Final = "beamlike"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can say
READABLE: Final = 0o644 << 16


@dataclass(frozen=True)
class Bundle:
    """What is in a bundle.

    Args:
        made_by: the version of beamlike, and that of Python, by which it was built.
        sizes: bytes of each file, by its name.
        source: the bundle itself, or the file that it is in.
    """

    plan: Plan
    made_by: tuple[str, str]
    sizes: Mapping[str, int]
    source: bytes | str

    def read(self, name: str) -> bytes:
        """A file of it. Raises: BundleError: there is none, or it is damaged."""
        try:
            with _open(self.source) as archive:
                return archive.read(name)
        except KeyError:
            raise BundleError(f"the bundle has no file {name}: there are {', '.join(sorted(self.sizes))}") from None
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise BundleError(f"the bundle's file {name} cannot be read: {error}") from None

    @property
    def files(self) -> list[str]:
        """The names of its files, without images and the plan."""
        return sorted(name for name in self.sizes if name != INDEX and not name.startswith(IMAGES))


def pack_bundle(plan: Plan, files: Mapping[str, bytes]) -> bytes:
    """A bundle of a plan and the files for it. Folders are entries too: else Python knows of none without an `__init__.py`."""
    index = {"format": FORMAT, "made_by": [own_version(), platform.python_version()], "plan": plan.as_json()}
    folders = {"/".join(parts[:count]) + "/" for name in files for parts in [name.split("/")] for count in range(1, len(parts))}
    entries = {INDEX: json.dumps(index, indent=1).encode(), **dict.fromkeys(folders, b""), **files}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = READABLE
            info.create_system = 3  # Unix, whatever this is
            archive.writestr(info, entries[name], zipfile.ZIP_STORED if name.endswith("/") else zipfile.ZIP_DEFLATED, 9)
    return target.getvalue()


def _open(source: bytes | str) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)


def read_bundle(source: bytes | str) -> Bundle:
    """What is in a bundle, or in a file of one. Raises: BundleError: it is none; BundleVersionError: it is newer than this."""
    try:
        with _open(source) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
            index = json.loads(archive.read(INDEX))
    except KeyError:
        raise BundleError(f"the payload is a zip archive without {INDEX}, expected a bundle, as `beamlike image build` makes it") from None
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RecursionError) as error:
        raise BundleError(f"the payload is no bundle, as `beamlike image build` makes it: {error}") from None
    match index:
        case {"format": int(number), "made_by": [str(maker), *_]} if number > FORMAT:
            raise BundleVersionError(
                f"the bundle has the format {number}, made by beamlike {maker}; this is beamlike {own_version()}, which reads up to format "
                f"{FORMAT}: update it, or build the image with this version"
            )
        case {"format": int(number), "made_by": [str(maker), str(python)], "plan": dict(plan)} if number == FORMAT:
            return Bundle(_plan(plan), (maker, python), sizes, source)
    raise BundleError(f"the bundle's {INDEX} is not as `beamlike image build` writes it")


def _plan(value: dict[str, Any]) -> Plan:
    try:
        return Plan.of_json(value)
    except (TypeError, KeyError, AttributeError) as error:
        raise BundleError(f"the plan in the bundle is not as `beamlike image build` writes it: {error}") from None


def own_version() -> str:
    """Of this beamlike."""
    from importlib.metadata import PackageNotFoundError, version  # 0.05 s, of each boot

    try:
        return version(MAKER)
    except PackageNotFoundError:
        return "not installed"
