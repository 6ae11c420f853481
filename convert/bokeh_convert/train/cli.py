"""The command `bokeh-train`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bokeh_convert.options import LEVELS
from bokeh_convert.train.console import Terminal, run_command
from bokeh_convert.train.contact_sheet import MOST_ROWS, ContactSheet
from bokeh_convert.train.distill_cli import distill, finetune
from bokeh_convert.train.distill_options import (
    AT_LEAST_ONE,
    COUNT,
    INT8_AWARE,
    INT8_LEARNING_RATE,
    INT8_STEPS,
    RATE,
    WEIGHT,
    WIDTH,
    refuse_int8_options,
)
from bokeh_convert.train.pairs import Pair, find_pairs, notes_on_skipped
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.finite_range import FiniteRange
from bokeh_runtime.stdout import print_on_stdout

if TYPE_CHECKING:
    from bokeh_convert.train.evaluate import Score

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
    "--width",
    type=WIDTH,
    default=1.0,
    show_default=True,
    help="Channel multiplier; 1.0 is the paper's PyNET.",
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
    "--steps",
    type=COUNT,
    default=100_000,
    show_default=True,
    help="Total number of optimizer steps.",
)
@click.option("--batch", type=AT_LEAST_ONE, default=4, show_default=True, help="Batch size.")
@click.option(
    "--crop",
    default=256,
    show_default=True,
    help="Side of the square training crops in pixels, a multiple of 32.",
)
@click.option(
    "--short-side",
    type=AT_LEAST_ONE,
    default=512,
    show_default=True,
    help="Short side to which photos are resized before the crop, in pixels. The default is half "
    "of the 1024 px of EBB!",
)
@click.option(
    "--paste",
    type=FiniteRange(0, 1),
    default=0.0,
    show_default=True,
    help="Probability of pasting the masked subject of another pair into the scene, 0 to 1.",
)
@click.option(
    "--learning-rate", type=RATE, default=1e-3, show_default=True, help="Peak learning rate."
)
@INT8_AWARE
@INT8_STEPS
@INT8_LEARNING_RATE
@click.option(
    "--seed",
    type=COUNT,
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
    help="Exclude pairs whose name starts with PREFIX from training; `evaluate --split train "
    "--only PREFIX` measures on them.",
)
@click.option(
    "--save-seconds",
    type=WEIGHT,
    default=120.0,
    show_default=True,
    help="Seconds between two checkpoints.",
)
def fit(
    dataset: Path,
    run: Path,
    depth: bool,
    leave_out: str | None,
    pair_count: int | None,
    save_seconds: float,
    int8_aware: bool,
    **config: Any,  # fields of `TrainConfig`
) -> None:
    """Train on the training pairs of DATASET, and write model.h5 to the output folder."""

    def work(terminal: Terminal) -> None:
        if not int8_aware:
            refuse_int8_options()
            config["int8_steps"] = 0
        if config["crop"] % 32 or config["crop"] <= 0:
            raise InputError(f"--crop {config['crop']}: must be a positive multiple of 32")
        pairs = _training_pairs(dataset, leave_out, pair_count, config["seed"])
        if config["paste"] and not any(pair.mask for pair in pairs):
            raise InputError(
                Argument("paste", config["paste"]),
                f": has no effect, since no pair of {dataset} has a mask; leave it out, or give a "
                "folder with a pairs.tsv and masks",
            )
        for note in notes_on_skipped(dataset, "train"):
            terminal.note(f"note: {note}")
        _fit(terminal, pairs, run, depth, save_seconds, config)

    run_command(fit, work, resume_in=run)


def _training_pairs(
    dataset: Path, leave_out: str | None, count: int | None, seed: int
) -> list[Pair]:
    pairs = [
        pair
        for pair in find_pairs(dataset, "train")
        if leave_out is None or not pair.name.startswith(leave_out)
    ]
    if not pairs:
        raise InputError(f"{dataset}: no pair is left to train on; add pairs, or leave out fewer")
    if count is None:
        return pairs
    if count > len(pairs):
        raise InputError(f"{dataset}: --pairs {count}: has {len(pairs)} pairs; give fewer")
    return sorted(random.Random(seed).sample(pairs, count), key=lambda pair: pair.name)


def _fit(
    terminal: Terminal,
    pairs: list[Pair],
    run: Path,
    depth: bool,
    save_seconds: float,
    config: dict[str, Any],
) -> None:
    from bokeh_convert.train.export import export
    from bokeh_convert.train.trainer import TrainConfig, train

    train_config = TrainConfig(input_channels=4 if depth else 3, **config)
    steps = train_config.steps + train_config.int8_steps
    with terminal.progress() as progress:

        def on_step(step: int, loss: float) -> None:
            progress(f"loss {loss:.5f}", step, steps)

        model = train(train_config, pairs, run, save_seconds=save_seconds, on_step=on_step)
    export(model, train_config, run / "model.h5")
    terminal.note(str(run / "model.h5"))


@main.command()
@click.argument("model", type=_FOLDER)
@click.argument("dataset", type=_FOLDER)
@click.option(
    "--short-side",
    type=AT_LEAST_ONE,
    default=512,
    show_default=True,
    help="Short side of the network input, in pixels.",
)
@click.option(
    "--sheet",
    type=_FOLDER,
    help=f"File for a contact sheet of photo, output and target, of the first {MOST_ROWS} pairs.",
)
@click.option(
    "--split",
    type=click.Choice(["heldout", "train"]),
    default="heldout",
    show_default=True,
    help="Pairs to evaluate on.",
)
@click.option("--only", metavar="PREFIX", help="Of these, pairs whose name starts with PREFIX.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores of each photo as JSON.")
def evaluate(
    model: Path,
    dataset: Path,
    short_side: int,
    sheet: Path | None,
    split: str,
    only: str | None,
    as_json: bool,
) -> None:
    """Evaluate MODEL (.h5 or .keras, or the folder of a run) on the held-out pairs of DATASET."""

    def work(terminal: Terminal) -> None:
        pairs = [pair for pair in find_pairs(dataset, split) if pair.name.startswith(only or "")]
        if not pairs:
            raise InputError(
                Argument("only", only),
                f": no pair of {dataset} in the split '{split}' has a name that starts like this; "
                "give another, or another ",
                Argument("split"),
            )
        for note in notes_on_skipped(dataset, split):
            terminal.note(f"note: {note}")
        from bokeh_convert.train.evaluate import evaluate as evaluate_pairs
        from bokeh_convert.train.inference import open_for_inference

        read = [model, *(path for pair in pairs for path in pair.files)]
        shown = None if sheet is None else ContactSheet(sheet, read)
        infer, depth = open_for_inference(model)
        with terminal.progress() as progress:
            scores = evaluate_pairs(
                infer,
                pairs,
                short_side=short_side,
                depth=depth,
                sheet=shown,
                on_photo=lambda name, done: progress(name, done, len(pairs)),
            )
        _show_scores(scores, as_json)  # first, so that they are there if the disk is full
        if shown is not None:
            shown.save()

    run_command(evaluate, work)


def _show_scores(scores: list[Score], as_json: bool) -> None:
    from bokeh_convert.train.evaluate import score_data, summary

    means = summary(scores)
    if as_json:
        data = {"mean": means, "photos": [score_data(s) for s in scores]}
        print_on_stdout(json.dumps(data, indent=1))
        return
    for name, value in means.items():
        click.echo(f"{name:20} {value}")


main.add_command(distill)
main.add_command(finetune)
