"""Finds the built web pages: an installed package, or the build of a checkout."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from bokeh_runtime.errors import InputError
from bokeh_runtime.version import __version__

PACKAGE = "bokeh_tflite_web"
_CHECKOUT = Path(__file__).resolve().parents[3]
_BUILT = _CHECKOUT / "build/web" / PACKAGE
_REMEDY = "pip install the wheel bokeh-tflite-web, or make web in a checkout"


@dataclass(frozen=True)
class Pages:
    """The built web pages.

    Attributes:
        folder: The pages, with LiteRT.js in `litert/`.
        litert_version: Version of LiteRT.js.
    """

    folder: Path
    litert_version: str

    def files(self) -> dict[str, Path]:
        """Returns the files by their names on the site, such as "demo/demo.js"."""
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}


def find_pages() -> Pages:
    """Returns the pages of this version; in a checkout, those that `make web` has built.

    Raises:
        InputError: If they are not there, or of another version.
    """
    package = _package()
    try:
        about = json.loads((package / "about.json").read_text(encoding="utf-8"))
        version, litert = str(about["version"]), str(about["litert"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{package}: the web pages are damaged ({error}); {_REMEDY}") from error
    if version != __version__:
        raise InputError(
            f"{package}: the web pages are of version {version}, this is {__version__}; {_REMEDY}"
        )
    return Pages(package / "site", litert)


def _package() -> Path:
    if (_BUILT / "about.json").exists() and (_CHECKOUT / "web/build.py").exists():
        return _BUILT
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(f"the web pages are not installed; {_REMEDY}")
    return Path(spec.origin).parent
