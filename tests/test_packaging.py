"""What the package says of itself, and that CI asks for what there is."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import readme_renderer.markdown
import yaml

import bokeh_bench
import bokeh_convert
import bokeh_runtime

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOW = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8"))
TEMPLATES = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
JOBS = sorted(WORKFLOW["jobs"])
COMMANDS = {
    "bokeh-bench": "bokeh_bench.cli",
    "bokeh-convert": "bokeh_convert.cli",
    "bokeh-render": "bokeh_runtime.cli",
}


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    """What a build would write into the wheel."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "metadata"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_there_is_one_version(metadata: dict[str, Any]) -> None:
    versions = {
        bokeh_runtime.__version__,
        bokeh_convert.__version__,
        bokeh_bench.__version__,
        metadata["version"],
        version("bokeh-tflite"),
    }
    assert len(versions) == 1


def test_the_classifiers_name_each_python_that_is_allowed(metadata: dict[str, Any]) -> None:
    found = {
        int(minor)
        for line in metadata["classifiers"]
        for minor in re.findall(r"^Programming Language :: Python :: 3\.(\d+)$", line)
    }
    low, high = map(int, re.findall(r"3\.(\d+)", metadata["requires-python"]))
    assert found == set(range(min(low, high), max(low, high)))
    systems = " ".join(line for line in metadata["classifiers"] if "Operating System" in line)
    assert all(name in systems for name in ("Linux", "MacOS", "Windows"))


class Addresses(HTMLParser):
    """Where the pictures and links of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_readme_leads_nowhere_that_a_package_index_does_not_have(
    metadata: dict[str, Any],
) -> None:
    text = metadata["readme"]["text"]
    assert metadata["readme"]["content-type"] == "text/markdown"
    html = readme_renderer.markdown.render(text)
    assert html
    page = Addresses()
    page.feed(html)
    assert any(address.startswith("https://") for address in page.found)
    assert [one for one in page.found if not one.startswith(("https://", "#"))] == []
    # A broken link that is no link any more would stay as its Markdown.
    assert "](" not in re.sub(r"<[^>]*>", "", html)
    # Nothing but pictures and addresses was taken out.
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ .*", readme, re.MULTILINE)
    assert re.findall(r"^#+ .*", text, re.MULTILINE) == headings


def test_a_broken_picture_would_be_seen() -> None:
    page = Addresses()
    page.feed(readme_renderer.markdown.render("![a picture](docs/a.jpg) [a file](docs/a.md)"))
    assert page.found == ["docs/a.jpg", "docs/a.md"]


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z0-9-]*):", text, re.MULTILINE))


def steps(job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WORKFLOW["jobs"][job]["steps"]
    return found


def lines(job: str) -> list[list[str]]:
    """The words of each command that a job runs."""
    texts = [step["run"] for step in steps(job) if "run" in step]
    return [shlex.split(line) for text in texts for line in text.splitlines() if line.strip()]


def test_linux_runs_the_two_commands() -> None:
    assert lines("linux") == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("job", JOBS)
def test_what_a_job_runs_is_here(job: str) -> None:
    for words in lines(job):
        if words[0] == "make":
            assert set(words[1:]) <= make_targets()
        elif words[0] in COMMANDS:
            command = importlib.import_module(COMMANDS[words[0]]).main
            command.make_context(words[0], words[1:])  # raises for an option that is unknown
        elif words[:3] == ["python", "-m", "pytest"]:
            assert all((ROOT / path).exists() for path in words[3:])
        else:
            assert words[:4] == ["python", "-m", "pip", "install"]
            assert (ROOT / words[words.index("--constraint") + 1]).exists()


def test_a_command_that_is_not_here_would_be_seen() -> None:
    assert "nothing" not in make_targets()
    command = importlib.import_module(COMMANDS["bokeh-bench"]).main
    with pytest.raises(Exception, match="No such option"):
        command.make_context("bokeh-bench", ["--no-such-option"])


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_each_python_with_pinned_actions(job: str, metadata: dict[str, Any]) -> None:
    pythons = WORKFLOW["jobs"][job]["strategy"]["matrix"]["python"]
    named = [f"Programming Language :: Python :: {python}" for python in pythons]
    assert set(named) <= set(metadata["classifiers"])
    assert len(pythons) == 4
    used = [step["uses"] for step in steps(job) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@v\d+", one) for one in used)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_an_issue_asks_for_what_is_needed(path: Path) -> None:
    template = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert template["name"]
    assert template["description"]
    fields = {field["id"]: field for field in template["body"]}
    assert all(field["attributes"]["label"] for field in fields.values())
    if path.stem == "bug":
        assert {"versions", "report"} <= fields.keys()
    if path.stem == "wrong_picture":
        assert fields["report"]["validations"]["required"]
