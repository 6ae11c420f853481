"""What `bokeh-render --serve` and `--export-site` do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from bokeh_runtime.backends.delegates import EngineOptions
from bokeh_runtime.console import spinner
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.shipped_models import SHIPPED_MODELS, shipped_model
from bokeh_runtime.web.address import ServeOptions
from bokeh_runtime.web.announcement import announce
from bokeh_runtime.web.server import PageServer, Site
from bokeh_runtime.web.site import INDEX, demo_site, export_site

# The parameters of `bokeh-render` that a page takes; the others are chosen on the page, if at all.
_TAKEN = {
    "photo", "model", "input_range", "output_range", "signature", "verbose",
    "serve", "serve_on", "adb_reverse", "export_site",
}  # fmt: skip


@dataclass(frozen=True)
class PageRequest:
    """The options of `bokeh-render` that concern the demo page.

    Attributes:
        serve: Whether to serve it.
        serve_on, adb_reverse: Where; see `ServeOptions`.
        export_site: Folder to write it to; None if it is not to be written.
    """

    serve: bool = False
    serve_on: str | None = None
    adb_reverse: bool = False
    export_site: Path | None = None

    @property
    def is_asked_for(self) -> bool:
        """Whether the command is about the page instead of photos."""
        return self.serve or self.export_site is not None

    def check(self, photo: Path | None, given: Collection[str]) -> None:
        """Checks the combination of options.

        Args:
            photo: The photo of the command, if any.
            given: The names of the parameters that the command line gives.

        Raises:
            InputError: If options contradict each other, or a page does not take one of them.
        """
        options = ServeOptions(self.serve_on, self.adb_reverse)
        if options != ServeOptions() and not self.serve:
            raise InputError(
                Argument("serve_on"), " and ", Argument("adb_reverse"), ": nothing is served",
                remedy=("give ", Argument("serve")),
            )  # fmt: skip
        options.bind()
        if self.is_asked_for and photo is not None:
            raise InputError(f"{photo}: photos are chosen on the page; omit it")
        for name in given if self.is_asked_for else ():
            if name not in _TAKEN:
                raise InputError(Argument(name), ": the page does not take it; omit it")

    def run(self, model: Path | None, options: EngineOptions, console: Console) -> None:
        """Writes the page, or serves it until Ctrl-C.

        Args:
            model: The only model; None offers those that ship with the package.
            options: See `site_model`.
            console: For the address.

        Raises:
            InputError: If the page cannot be built, written or served.
            HardwareError: If adb refuses.
        """
        models = [model] if model else [shipped_model(name) for name in SHIPPED_MODELS]
        if self.export_site is not None:
            with spinner(console, "writing the site"):
                page = export_site(models, self.export_site, options)
            click.echo(f"{page}: serve the folder with any host with https", file=console.file)
        if not self.serve:
            return
        address = ServeOptions(self.serve_on, self.adb_reverse)
        say = _printer(console)
        with PageServer(Site(demo_site(models, options), INDEX), address) as server:
            try:
                announce(server, address, say, with_code=console.file.isatty())
                say("Ctrl-C ends it")
                never = threading.Event()
                # A Ctrl-C between Python's look for signals and an endless wait would be lost.
                while not never.wait(1):
                    pass
            except KeyboardInterrupt:
                say("ended")


def _printer(console: Console) -> Callable[[str], None]:
    def say(text: str) -> None:
        click.echo(text, file=console.file)
        console.file.flush()

    return say
