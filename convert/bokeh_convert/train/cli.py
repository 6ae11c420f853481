"""The command `bokeh-train`."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bokeh_convert.options import LEVELS
from bokeh_convert.train.distill_cli import distill, finetune
from bokeh_convert.train.pairs import Pair, find_pairs, notes_on_skipped
from bokeh_runtime.errors import InputError, option_names
from bokeh_runtime.interrupt import INTERRUPTED, interruptible

_FOLDER = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bokeh-tflite")
def main() -> None:
    """Train a PyNET, and evaluate it on held-out photos.

    DATASET is a folder in the layout of EBB! (train/ and test/, each with original/N.jpg,
    bokeh/N.jpg and, for models with depth input, original_depth/N.png; or these three folders
    directly), or a folder with a pairs.tsv.

    The environment variable KERAS_BACKEND selects the Keras backend: tensorflow, torch or jax.
    """


@main.command()
@click.argument("dataset", type=_FOLDER)
@click.option(
    "-o",
    "--output-dir",
    "run",
    type=_FOLDER,
    required=True,
    help="Output folder. To resume a run, repeat the command with the same folder.",
)
@click.option(
    "--width", default=1.0, show_default=True, help="Channel multiplier; 1.0 is the paper's PyNET."
)
@click.option(
    "--depth/--no-depth",
    default=True,
    show_default=True,
    help="Network input with or without a depth channel.",
)
@click.option(
    "--residual",
    is_flag=True,
    help="Add the network's output to the photo. This needs far fewer training pairs.",
)
@click.option(
    "--head",
    type=click.Choice(LEVELS),
    default="l_up",
    show_default=True,
    help="The finest output to train: l0 is the size of the input, l_up twice that.",
)
@click.option(
    "--by-level",
    is_flag=True,
    help="Add one level after the other, as in the paper, instead of training all from the start.",
)
@click.option(
    "--steps", default=100_000, show_default=True, help="Total number of optimizer steps."
)
@click.option("--batch", default=4, show_default=True, help="Batch size.")
@click.option(
    "--crop",
    default=256,
    show_default=True,
    help="Side of the square training crops in pixels, a multiple of 32.",
)
@click.option(
    "--short-side",
    default=512,
    show_default=True,
    help="Short side to which photos are resized before the crop, in pixels. The default is half "
    "of the 1024 px of EBB!",
)
@click.option(
    "--paste",
    default=0.0,
    show_default=True,
    help="Probability of pasting the masked subject of another pair into the scene, 0 to 1.",
)
@click.option("--learning-rate", default=1e-3, show_default=True, help="Peak learning rate.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Random seed for the weights, the examples and the augmentation.",
)
@click.option(
    "--pairs",
    "pair_count",
    type=click.IntRange(min=1),
    help="Train on so many of the pairs, chosen at random by --seed.",
)
@click.option(
    "--leave-out",
    metavar="PREFIX",
    help="Exclude pairs whose name starts with PREFIX from training, for use as validation data.",
)
@click.option(
    "--save-seconds", default=120.0, show_default=True, help="Seconds between two checkpoints."
)
def fit(
    dataset: Path,
    run: Path,
    depth: bool,
    leave_out: str | None,
    pair_count: int | None,
    save_seconds: float,
    **config: Any,  # fields of `TrainConfig`
) -> None:
    """Train on the training pairs of DATASET, and write model.h5 to the output folder."""
    if config["crop"] % 32 or config["crop"] <= 0:
        _fail(f"--crop {config['crop']}: must be a positive multiple of 32")
    try:
        with interruptible() as check:
            pairs = _training_pairs(dataset, leave_out, pair_count, config["seed"])
            _fit(pairs, run, depth, save_seconds, config, check)
    except InputError as error:
        _fail(error.in_options(option_names(fit)))
    except ValueError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail(
            f"interrupted; repeat the command to resume from the checkpoint in {run}", INTERRUPTED
        )
    click.echo(f"{run / 'model.h5'}", err=True)


def _training_pairs(
    dataset: Path, leave_out: str | None, count: int | None, seed: int
) -> list[Pair]:
    pairs = [
        pair
        for pair in find_pairs(dataset, "train")
        if leave_out is None or not pair.name.startswith(leave_out)
    ]
    for note in notes_on_skipped(dataset, "train"):
        click.echo(f"note: {note}", err=True)
    if count is None:
        return pairs
    if count > len(pairs):
        raise ValueError(f"{dataset}: --pairs {count}: has {len(pairs)} pairs; give fewer")
    return sorted(random.Random(seed).sample(pairs, count), key=lambda pair: pair.name)


def _fit(
    pairs: list[Pair],
    run: Path,
    depth: bool,
    save_seconds: float,
    config: dict[str, Any],
    check: Callable[[], None],
) -> None:
    """Trains and exports; `check` raises KeyboardInterrupt if a library swallowed a Ctrl-C."""
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
    help="Short side of the network input, in pixels.",
)
@click.option("--sheet", type=_FOLDER, help="File for a contact sheet of photo, output and target.")
@click.option(
    "--split",
    type=click.Choice(["heldout", "train"]),
    default="heldout",
    show_default=True,
    help="Pairs to evaluate on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores of each photo as JSON.")
def evaluate(
    model: Path, dataset: Path, short_side: int, sheet: Path | None, split: str, as_json: bool
) -> None:
    """Evaluate MODEL (.h5 or .keras, or the folder of a run) on the held-out pairs of DATASET."""
    try:
        pairs = find_pairs(dataset, split)
        for note in notes_on_skipped(dataset, split):
            click.echo(f"note: {note}", err=True)
        from bokeh_convert.train.inference import open_for_inference

        infer, depth = open_for_inference(model)
        from bokeh_convert.train.evaluate import evaluate as evaluate_pairs
        from bokeh_convert.train.evaluate import score_data, summary

        scores = evaluate_pairs(infer, pairs, short_side=short_side, depth=depth, sheet=sheet)
    except InputError as error:
        _fail(error.in_options(option_names(evaluate)))
    except ValueError as error:
        _fail(str(error))
    means = summary(scores)
    if as_json:
        click.echo(json.dumps({"mean": means, "photos": [score_data(s) for s in scores]}, indent=1))
        return
    for name, value in means.items():
        click.echo(f"{name:20} {value}")


main.add_command(distill)
main.add_command(finetune)


def _fail(message: str, code: int = 2) -> NoReturn:
    click.echo(f"bokeh-train: {message}", err=True)
    sys.exit(code)
