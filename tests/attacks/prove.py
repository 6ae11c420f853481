"""Makes every attack and proves it on the plain library: `python -m attacks.prove FOLDER`.

Writes FOLDER/proofs.json: for each attack its file, its mark, and what was seen. Where an attack
leaves a mark it is removed again, so that the files can be tried on something else.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from pathlib import Path

# Of the attacks' own modules: what is imported here registers itself.
import attacks.hdf5_files
import attacks.keras_2
import attacks.keras_3
import attacks.saved_models  # noqa: F401
from attacks.corpus import ATTACKS


def remove(mark: Path) -> None:
    if mark.is_dir():
        shutil.rmtree(mark)
    mark.unlink(missing_ok=True)


def main(root: Path) -> None:
    warnings.simplefilter("ignore")  # Keras calls its own .h5 files legacy
    assert "bokeh_convert" not in sys.modules, "the proofs are on the plain libraries"
    proofs = {}
    for name, attack in ATTACKS.items():
        folder = root / name
        folder.mkdir()
        mark = folder / "mark.index"
        path = attack.make(folder, mark)
        remove(mark)  # making it may run it
        # As where somebody starts Python in the folder of the download.
        os.chdir(folder)
        sys.path.insert(0, "")
        try:
            seen, said = attack.prove(path, mark), ""
        except Exception as error:  # whatever the library says
            seen, said = False, f"{type(error).__name__}: {error}"
        finally:
            sys.path.remove("")
        remove(mark)
        proofs[name] = {"path": str(path), "mark": str(mark), "seen": bool(seen), "said": said}
    (root / "proofs.json").write_text(json.dumps(proofs, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
