"""What an attack is, and the list that the modules of this folder add theirs to.

No project code is imported here: the proofs run on the plain libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECRET = 1234.5
"""A number that stands in a file of the victim, outside of the model."""


@dataclass(frozen=True)
class Attack:
    """A hostile model file.

    Attributes:
        make: Writes it into an empty folder. Arguments: the folder, and the mark, a path that the
            file is to create when it is loaded or run. Returns the path of the model.
        prove: Does with the model what a user of the plain library would, and returns whether
            the effect was seen. Arguments: the model and the mark.
        refusal: Regular expression that this project's message matches.
        stopped_by: Regular expression of the plain library's own refusal; "" where it has none.
    """

    make: Callable[[Path, Path], Path]
    prove: Callable[[Path, Path], bool]
    refusal: str
    stopped_by: str = ""


ATTACKS: dict[str, Attack] = {}


def attack(
    prove: Callable[[Path, Path], bool], refusal: str, *, stopped_by: str = ""
) -> Callable[[Callable[[Path, Path], Path]], Callable[[Path, Path], Path]]:
    """Adds a `make` function to the corpus, under the name of its module and its own."""

    def add(make: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        module = make.__module__.rpartition(".")[2]
        ATTACKS[f"{module}.{make.__name__}"] = Attack(make, prove, refusal, stopped_by)
        return make

    return add
