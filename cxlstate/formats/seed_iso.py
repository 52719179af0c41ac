"""A small ISO 9660 image, as cloud-init finds it by its label. The home of pycdlib."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Final

LABEL: Final = "cidata"


def image(files: Mapping[str, bytes]) -> bytes:
    """An image with these files. Their names are Rock Ridge's: those of ISO 9660 have no lower case."""
    from pycdlib import PyCdlib  # noqa: PLC0415  # slow to load, and seldom needed

    iso, made = PyCdlib(), BytesIO()
    iso.new(interchange_level=3, rock_ridge="1.09", vol_ident=LABEL)
    try:
        for number, (name, content) in enumerate(files.items()):
            iso.add_fp(BytesIO(content), len(content), f"/FILE{number}.;1", rr_name=name)
        iso.write_fp(made)
    finally:
        iso.close()
    return made.getvalue()


def read(content: bytes) -> tuple[str, dict[str, bytes]]:
    """The label of an image, and its files. ValueError: it is none."""
    from pycdlib import PyCdlib  # noqa: PLC0415  # as above
    from pycdlib.pycdlibexception import PyCdlibException  # noqa: PLC0415

    iso = PyCdlib()
    try:
        iso.open_fp(BytesIO(content))
    except PyCdlibException as odd:
        raise ValueError(str(odd)) from odd
    try:
        found = {}
        for one in iso.list_children(rr_path="/"):
            if one is not None and one.is_file():
                file = BytesIO()
                name = one.rock_ridge.name().decode()
                iso.get_file_from_iso_fp(file, rr_path=f"/{name}")
                found[name] = file.getvalue()
        return iso.pvd.volume_identifier.decode("ascii", "replace").strip(), found
    finally:
        iso.close()
