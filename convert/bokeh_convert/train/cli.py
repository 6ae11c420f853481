"""The command `bokeh-train`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bokeh_convert.train.pairs import find_pairs
from bokeh_runtime.interrupt import INTERRUPTED, interruptible

_FOLDER = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bokeh-tflite")
def main() -> None:
    """Train a PyNET and score it on photos it has not seen.

    DATASET is a folder in the layout of EBB! (train/ and test/, each with original/N.jpg,
    bokeh/N.jpg and, for models with depth, original_depth/N.png), or one with a pairs.tsv.

    Keras trains on the backend that the variable KERAS_BACKEND names: tensorflow, torch or jax.
    """


@main.command()
@click.argument("dataset", type=_FOLDER)
@click.option(
    "-o",
    "--output-dir",
    "run",
    type=_FOLDER,
    required=True,
    help="Folder of this run; the same command with the same folder resumes.",
)
@click.option("--width", default=1.0, show_default=True, help="Channels, as a part of PyNET's.")
@click.option(
    "--depth/--no-depth", default=True, show_default=True, help="RGB + depth, or RGB alone."
)
@click.option(
    "--residual",
    is_flag=True,
    help="Add the network's output to the photo: learns from far fewer pairs.",
)
@click.option(
    "--head",
    type=click.Choice(["l5", "l4", "l3", "l2", "l1", "l0", "l_up"]),
    default="l_up",
    show_default=True,
    help="The finest output to train: l_up is twice the input's size, l0 the same.",
)
@click.option(
    "--by-level",
    is_flag=True,
    help="Add one level after the other, as in the paper; else all from the start.",
)
@click.option("--steps", default=100_000, show_default=True)
@click.option("--batch", default=4, show_default=True, help="Crops per step.")
@click.option(
    "--crop",
    default=256,
    show_default=True,
    help="Side of the network's input in training, a multiple of 32.",
)
@click.option(
    "--short-side",
    default=512,
    show_default=True,
    help="The photo's short side as the network sees it (EBB!'s 1024 px, halved).",
)
@click.option(
    "--paste",
    default=0.0,
    show_default=True,
    help="How often a masked subject is pasted into another scene, 0 to 1.",
)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--leave-out",
    metavar="PREFIX",
    help="Do not train on pairs whose name starts so; they can serve to watch progress on.",
)
@click.option(
    "--save-seconds", default=120.0, show_default=True, help="How often the checkpoint is written."
)
def fit(
    dataset: Path,
    run: Path,
    depth: bool,
    leave_out: str | None,
    save_seconds: float,
    **config: Any,
) -> None:
    """Train on DATASET's training pairs; ends with model.h5 in the run's folder."""
    if config["crop"] % 32 or config["crop"] <= 0:
        _fail(f"--crop {config['crop']}: must be a multiple of 32")
    try:
        with interruptible() as check:
            _fit(dataset, run, depth, leave_out, save_seconds, config, check)
    except ValueError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail(f"interrupted; the same command goes on from the checkpoint in {run}", INTERRUPTED)
    click.echo(f"{run / 'model.h5'}", err=True)


def _fit(
    dataset: Path,
    run: Path,
    depth: bool,
    leave_out: str | None,
    save_seconds: float,
    config: dict[str, Any],
    check: Callable[[], None],
) -> None:
    """Trains and exports; `check` ends it between two steps if a Ctrl-C was lost."""
    pairs = [
        pair
        for pair in find_pairs(dataset, "train")
        if leave_out is None or not pair.name.startswith(leave_out)
    ]
    from bokeh_convert.train.export import export
    from bokeh_convert.train.trainer import TrainConfig, train

    train_config = TrainConfig(input_channels=4 if depth else 3, **config)
    console = Console(stderr=True)
    with Progress(
        TextColumn("loss {task.fields[loss]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=train_config.steps, loss="-")

        def on_step(step: int, loss: float) -> None:
            check()
            bar.update(task, completed=step, loss=f"{loss:.5f}")

        model = train(train_config, pairs, run, save_seconds=save_seconds, on_step=on_step)
    check()
    export(model, train_config, run / "model.h5")


@main.command()
@click.argument("model", type=_FOLDER)
@click.argument("dataset", type=_FOLDER)
@click.option(
    "--short-side",
    default=512,
    show_default=True,
    help="The photo's short side as the network sees it.",
)
@click.option("--sheet", type=_FOLDER, help="Save a contact sheet (photo, output, target) here.")
@click.option(
    "--split", type=click.Choice(["heldout", "train"]), default="heldout", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Print every photo's scores as JSON.")
def evaluate(
    model: Path, dataset: Path, short_side: int, sheet: Path | None, split: str, as_json: bool
) -> None:
    """Score MODEL (.h5 or .keras, or a run's folder) on DATASET's held-out pairs."""
    try:
        pairs = find_pairs(dataset, split)
        from bokeh_convert.train.inference import open_for_inference

        infer, depth = open_for_inference(model)
        from bokeh_convert.train.evaluate import evaluate as score
        from bokeh_convert.train.evaluate import score_data, summary

        scores = score(infer, pairs, short_side=short_side, depth=depth, sheet=sheet)
    except ValueError as error:
        _fail(str(error))
    means = summary(scores)
    if as_json:
        click.echo(json.dumps({"mean": means, "photos": [score_data(s) for s in scores]}, indent=1))
        return
    for name, value in means.items():
        click.echo(f"{name:20} {value}")


def _fail(message: str, code: int = 2) -> NoReturn:
    click.echo(f"bokeh-train: {message}", err=True)
    sys.exit(code)
