from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bokeh_runtime import atomic_output as module
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.errors import InputError

NOTHING = "no file was changed"


def contents(folder: Path) -> dict[str, str]:
    """What a user sees there, hidden files included."""
    return {path.name: path.read_text() if path.is_file() else "" for path in folder.iterdir()}


def write(folder: Path, **files: str) -> None:
    with AtomicOutput(folder) as output:
        for name, text in files.items():
            output.path(name).write_text(text)
        output.commit()


def python(program: str, *arguments: object, before: tuple[str, ...] = ()) -> list[str]:
    return [*before, sys.executable, "-c", program, *map(str, arguments)]


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    with AtomicOutput(tmp_path / "new" / "folder") as output:
        output.path("a.txt").write_text("a")
        output.path("b.txt").write_text("b")
        assert not (tmp_path / "new" / "folder" / "a.txt").exists()
        output.commit()
    assert contents(tmp_path / "new" / "folder") == {"a.txt": "a", "b.txt": "b"}


def test_several_commits_of_one_run(tmp_path: Path) -> None:
    with AtomicOutput(tmp_path) as output:
        for text in ("first", "second"):
            output.path("a").write_text(text)
            output.path("b").write_text(text)
            output.commit()
    assert contents(tmp_path) == {"a": "second", "b": "second"}


def test_an_error_leaves_the_previous_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good")

    def fail() -> None:
        with AtomicOutput(tmp_path) as output:
            output.path("a.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert contents(tmp_path) == {"a.txt": "good"}


def test_a_folder_with_the_name_of_a_file_stops_the_commit(tmp_path: Path) -> None:
    write(tmp_path, a="old", b="old")
    with AtomicOutput(tmp_path) as output:
        output.path("a").write_text("new")
        output.path("b").write_text("new")
        (tmp_path / "b").unlink()
        (tmp_path / "b" / "inner").mkdir(parents=True)
        with pytest.raises(InputError, match=r"b: is a folder.*move the folder away"):
            output.commit()
    assert contents(tmp_path) == {"a": "old", "b": ""}
    # Told before the work where the name is known then.
    with AtomicOutput(tmp_path) as output, pytest.raises(InputError, match="b: is a folder"):
        output.path("b")


# One process forks a child for each step of a run: the child ends, or is stopped, right before it.
# Audit events tell of each call that changes a folder; `os.rename` is that of os.replace too.
AT_EACH_STEP = """
import errno, os, pathlib, signal, sys
from bokeh_runtime.errors import InputError
from bokeh_runtime.atomic_output import AtomicOutput

folder, how, links = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "links"
NAMES = ("a", "b", "c")
left = None

def hook(event, arguments):
    global left
    if left is None or event not in (
        "os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "open"
    ) or str(folder) not in str(arguments[0]):
        return
    left -= 1
    if left:
        return
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise KeyboardInterrupt if how == "interrupted" else OSError(errno.EIO, os.strerror(errno.EIO))

sys.addaudithook(hook)
if not links:
    def no_link(*arguments, **options):
        raise OSError(errno.EPERM, "no links here")
    os.link = no_link

def write(text):
    with AtomicOutput(folder) as output:
        for name in NAMES:
            output.path(name).write_text(text)
        output.commit()

def contents():
    return {p.name: p.read_text() for p in folder.iterdir() if p.is_file()}

old = {"a": "old", "b": "old"}  # c is new
new = dict.fromkeys(NAMES, "new")
steps, outcomes = 0, set()
while True:
    steps += 1
    for path in folder.iterdir():
        path.unlink()
    for name, text in old.items():
        (folder / name).write_text(text)
    child = os.fork()
    if not child:
        left, code = steps, 0
        try:
            write("new")
        except InputError as error:
            code = 1
            if "no file was changed" not in str(error) and "cannot be written" not in str(error):
                sys.stderr.write(f"{error}\\n")
                code = 3
        except KeyboardInterrupt:
            code = 2
        if left > 0:
            code = 9  # ended before the step
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 9:
        break
    code = -1 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    assert code != 3
    if how == "killed":
        assert code == -1
    else:
        found = {name: text for name, text in contents().items() if name in NAMES}
        assert found in (old, new), (steps, code, contents())
    if code == 1:
        assert contents() == old, (steps, contents())
    with AtomicOutput(folder):  # the next run
        pass
    names = sorted(path.name for path in folder.iterdir())
    assert contents() in (old, new), (steps, code, contents())
    assert not [name for name in names if name not in NAMES], (steps, code, names)
    outcomes.add("new" if contents() == new else "old")
print(steps, *sorted(outcomes))
"""


@pytest.mark.parametrize("links", ["links", "no links"])
@pytest.mark.parametrize("how", ["killed", "interrupted", "failing"])
def test_a_run_that_is_stopped_at_any_step_mixes_no_files(
    tmp_path: Path, how: str, links: str
) -> None:
    ended = subprocess.run(
        python(AT_EACH_STEP, tmp_path, how, links), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    steps, *outcomes = ended.stdout.split()
    assert int(steps) > 10
    assert outcomes == ["new", "old"]


def test_a_killed_run_is_finished_or_removed_by_the_next(tmp_path: Path) -> None:
    write(tmp_path, a="old")
    program = (
        "import sys, pathlib, os, signal\n"
        "from bokeh_runtime.atomic_output import AtomicOutput\n"
        "with AtomicOutput(pathlib.Path(sys.argv[1])) as output:\n"
        "    output.path('a').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(python(program, tmp_path), check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2  # what it left
    write(tmp_path, b="new")
    assert contents(tmp_path) == {"a": "old", "b": "new"}


def test_files_of_a_killed_run_that_cannot_be_renamed_are_kept_and_reported(
    tmp_path: Path,
) -> None:
    run = tmp_path / ".bokeh-tflite-run-01234567"
    (run / "whole").mkdir(parents=True)
    (run / "whole" / "a").write_text("new")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "inner").touch()
    with pytest.raises(InputError, match=r"a: an earlier run was killed before .*fix the cause"):
        AtomicOutput(tmp_path)
    assert (run / "whole" / "a").read_text() == "new"
    shutil.rmtree(tmp_path / "a")
    write(tmp_path, b="b")
    assert contents(tmp_path) == {"a": "new", "b": "b"}


def test_other_folders_are_not_touched(tmp_path: Path) -> None:
    for name in (".part-of-my-life", ".bokeh-tflite-run-notes", ".bokeh-tflite-run-0123456"):
        (tmp_path / name).mkdir()
    write(tmp_path, a="new")
    assert len(list(tmp_path.iterdir())) == 4


def namespaces() -> tuple[str, ...]:
    """The words that start a program in a PID namespace of its own, or skips."""
    own = ("unshare", "--pid", "--fork", "--mount-proc")
    for words in (own, (*own, "--user", "--map-root-user")):
        with contextlib.suppress(OSError):
            if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
                return words
    pytest.skip("PID namespaces need root, or user namespaces")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same machine", "PID namespace"])
def test_the_files_of_a_running_process_are_not_touched(tmp_path: Path, elsewhere: bool) -> None:
    before = namespaces() if elsewhere else ()
    program = (
        "import sys, pathlib\n"
        "from bokeh_runtime.atomic_output import AtomicOutput\n"
        "with AtomicOutput(pathlib.Path(sys.argv[1])) as output:\n"
        "    output.path('b').write_text('other')\n"
        "    output.commit()\n"
    )
    with AtomicOutput(tmp_path) as output:
        output.path("a").write_text("ours")
        # In a new namespace our process id names nobody.
        other = subprocess.run(
            python(program, tmp_path, before=before), capture_output=True, text=True, check=False
        )
        assert other.returncode == 0, other.stderr
        output.commit()
    assert contents(tmp_path) == {"a": "ours", "b": "other"}


def test_runs_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from bokeh_runtime.atomic_output import AtomicOutput\n"
        "for i in range(30):\n"
        "    with AtomicOutput(pathlib.Path(sys.argv[1])) as output:\n"
        "        for name in 'ab':\n"
        "            output.path(name).write_text(f'{sys.argv[2]} {i}')\n"
        "        output.commit()\n"
    )
    runs = [subprocess.Popen(python(program, tmp_path, tag)) for tag in ("x", "y", "z")]
    assert [run.wait() for run in runs] == [0, 0, 0]
    found = contents(tmp_path)
    assert set(found) == {"a", "b"}
    assert found["a"] == found["b"]


def test_a_folder_locked_by_another_run_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCK_TIMEOUT_S", 0.1)
    with module._commit_lock(tmp_path), pytest.raises(InputError, match="another run"):
        AtomicOutput(tmp_path)
    write(tmp_path, a="new")
    assert contents(tmp_path) == {"a": "new"}


@pytest.mark.parametrize("cause", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: int
) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(cause, os.strerror(cause))

    monkeypatch.setattr("fcntl.flock", refuse)
    with AtomicOutput(tmp_path) as first:
        first.path("a").write_text("a")
        write(tmp_path, b="b")  # whether the first lives cannot be known
        first.commit()
    assert contents(tmp_path) == {"a": "a", "b": "b"}


def test_a_full_disk_is_reported_and_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, a="old")
    least, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        with AtomicOutput(tmp_path) as output:
            output.path("b").write_text("new")
            output.path("a").write_bytes(bytes(1 << 20))
            output.commit()

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, most))
    try:
        with pytest.raises(InputError, match=f"writing failed .File too large.; {NOTHING}"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))
    assert contents(tmp_path) == {"a": "old"}


def test_files_written_by_an_earlier_commit_are_reported(tmp_path: Path) -> None:
    def fail_late() -> None:
        with AtomicOutput(tmp_path) as output:
            output.path("a").write_text("new")
            output.commit()
            output.path("b").write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match="already written: a"):
        fail_late()
    assert contents(tmp_path) == {"a": "new"}


def test_an_error_about_another_file_names_that_file(tmp_path: Path) -> None:
    def read() -> None:
        with AtomicOutput(tmp_path / "out"):
            (tmp_path / "photo.jpg").read_bytes()

    with pytest.raises(InputError, match=r"photo\.jpg: No such file .*out: no file was changed"):
        read()


@pytest.mark.parametrize("length", [255, 256])
def test_a_name_may_be_as_long_as_the_file_system_lets_it(tmp_path: Path, length: int) -> None:
    name = "n" * length
    if length == 255:
        write(tmp_path, **{name: "new", "b": "new"})
        assert contents(tmp_path) == {name: "new", "b": "new"}
    else:
        with pytest.raises(InputError, match=f"File name too long.*{NOTHING}"):
            write(tmp_path, **{name: "new", "b": "new"})
        assert contents(tmp_path) == {}


def test_names_that_differ_only_in_case_are_refused_if_the_folder_ignores_case(
    tmp_path: Path,
) -> None:
    with AtomicOutput(tmp_path) as output:
        output.path("a.txt").write_text("new")
        # What a folder without upper and lower case does with a second name.
        if not output.path("A.txt").exists():
            output.path("A.txt").hardlink_to(output.path("a.txt"))
        with pytest.raises(InputError, match=r"a\.txt and A\.txt are the same file"):
            output.commit()
    assert contents(tmp_path) == {}


@contextlib.contextmanager
def unchangeable(path: Path) -> Iterator[None]:
    """Even for root."""
    if (
        shutil.which("chattr") is None
        or subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode
    ):
        pytest.skip("chattr +i needs root, and a file system that knows it")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def test_a_file_that_cannot_be_replaced_stops_the_commit(tmp_path: Path) -> None:
    write(tmp_path, a="old", b="old")

    with (
        unchangeable(tmp_path / "b"),
        pytest.raises(
            InputError, match=f"b: cannot be replaced .Operation not permitted.; {NOTHING}"
        ),
    ):
        write(tmp_path, a="new", b="new", c="new")
    assert contents(tmp_path) == {"a": "old", "b": "old"}


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if os.geteuid() == 0:
        with unchangeable(folder), pytest.raises(InputError, match="cannot be written to"):
            AtomicOutput(folder)
    else:
        folder.chmod(0o555)
        with pytest.raises(InputError, match="cannot be written to"):
            AtomicOutput(folder)
        folder.chmod(0o755)
    assert contents(folder) == {}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_a_folder_in_which_no_file_can_be_created_is_refused() -> None:
    # Not even by root, and the system gives another reason than missing rights.
    with pytest.raises(InputError, match="cannot be written to"):
        AtomicOutput(Path("/proc/self/fd"))
    with (
        pytest.raises(InputError, match="cannot be written to"),
        module.folder_lock(Path("/proc/self/fd"), "lock"),
    ):
        pass


def test_a_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        AtomicOutput(tmp_path / "file" / "folder")
