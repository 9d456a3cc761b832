"""The linter for English: every rule, what it reads, and which lines count as new."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "prose.py"
LINTER = runpy.run_path(str(SCRIPT))
RULES = "docs/style.md"
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "someone" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
BAD, GOOD = "Nobody is here.\n", "No process is here.\n"

EXAMPLES = [  # one pair for every rule, in the linter's order
    ("The loop is told of it.", "The writer notifies the loop."),
    ("It tells which runs stopped.", "It lists the stopped runs."),
    ("what has become of a run", "the state of a run"),
    (BAD, GOOD),
    ("It stopped for\nwant of memory.", "It stopped because memory ran out."),
    ("A dear instrument.", "An expensive instrument."),
    ("It works whatever the size.", "It works for any size."),
    ("The run goes on later.", "The run resumes later, then goes on to the next task."),
    ("It is read as far as it is there.", "Read as many lines as possible, as far as one can see."),
    ("A path that is none.", "If there\nis none, make one."),
    ("It is no folder.", "There is no folder; it is no longer than a line, and no worse."),
    ("The run is to be done.", "The run must be done."),
    ("What is known of a task.", "What is known about a task of this kind."),
    ("It may not be empty, and no run may start.", "It must not be empty."),
    ("runs of which there is a folder", "runs with a folder, one of which is new"),
    ("One a run, as a rule.", "One per run, one that a run needs."),
    ("path: Of the lock.", "path: Path of the lock."),
    ("Returns:\n    They.", "Returns:\n    The ledgers, one per folder."),
    ("It does so in order to end.", "It does so to end."),
    ("It is\nis so.", "It is so. So it is."),
    ("one two " * 20 + "words", "one two " * 15 + "end. " + "one two " * 15),
]


def found(suffix: str, source: str) -> list[tuple[int, str]]:
    """Return the first line and the advice of every finding."""
    return [(first, advice) for first, _, _, advice in LINTER["findings"](suffix, source)]


@pytest.mark.parametrize(
    ("advice", "bad", "good"), [(a, *e) for a, e in zip(LINTER["RULES"].values(), EXAMPLES, strict=True)]
)
def test_every_rule_finds_its_bad_example_and_passes_its_good_one(advice, bad, good):
    assert {said for _, said in found(".md", bad)} == {advice}
    assert found(".md", good) == []


@pytest.mark.parametrize(
    ("owner", "bad", "good"),
    [
        ("def f():", "The runs.", "Return the runs."),
        ("async def f():", "Whether it runs.", "Return whether it runs."),
        ("@property\ndef f(self):", "What it is.", "Whether it runs."),
        ("@pytest.fixture\ndef f():", "That of a run.", "A run."),
        ("def test_f():", "What it is.", "The test's fact."),
        ("class A:", "What it is.", "A run."),
        ("class A:\n    x = 1", "Of the run.", "The run."),
    ],
)
def test_functions_begin_with_a_verb_and_all_else_with_a_noun(owner, bad, good):
    line = owner.count("\n") + 2
    assert [first for first, _ in found(".py", f'{owner}\n    """{bad}"""\n')] == [line]
    assert found(".py", f'{owner}\n    """{good}"""\n') == []


@pytest.mark.parametrize(
    ("suffix", "source", "lines"),
    [
        (".py", '"""Module.\n\nNobody.\n"""\nnobody = "nobody"  # nobody\n# nobody\n', [3, 5, 6]),
        (".py", "a = 1  # one word\nb = 2  # word more\n", []),
        (".yaml", "nobody: nobody # nobody\n# nobody\nsize: '#nobody'\n", [1, 2]),
        (".md", "nobody\n```\nnobody\n```\nthe `nobody` and `a\nnobody` and nobody\n", [1, 6]),
        (".md", ("- " + "one two " * 15 + "\n") * 2 + "\n| a word | word |\n", []),
        (".j2", "<style>nobody</style>\n<p class='nobody'>{{ nobody }}\n{% if nobody %}nobody</p>\n", [3]),
    ],
)
def test_only_prose_is_read_and_every_paragraph_by_itself(suffix, source, lines):
    assert [first for first, _ in found(suffix, source)] == lines


class Repository:
    """A repository with the linter, a page in bad English, and then the rules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit({"scripts/prose.py": SCRIPT.read_text(), "old.md": BAD})
        self.commit({RULES: GOOD})

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, env=ENVIRONMENT, check=True, capture_output=True)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files: dict[str, str]) -> None:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=A change")


def check(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the linter of a folder; return its exit status and what it prints."""
    script = folder / "scripts" / "prose.py"
    ended = subprocess.run(
        [sys.executable, script, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
    return ended.returncode, ended.stdout


def places(printed: str) -> set[str]:
    """Return file, line and words of every finding."""
    return set(re.findall(r"^(\S+:\d+: .*?):", printed, re.MULTILINE))


@pytest.fixture
def repository(tmp_path) -> Repository:
    (tmp_path / "here").mkdir()
    return Repository(tmp_path / "here")


def test_only_lines_newer_than_the_rules_count_committed_or_not(repository):
    assert check(repository.folder) == (0, "")
    repository.commit({"old.md": BAD + "\n" + BAD, "gone.md": BAD})
    repository.write({"scripts/a.py": "# One.\n\n# Nobody.\n", RULES: "It is no rule.\n"})
    (repository.folder / "gone.md").unlink()
    status, printed = check(repository.folder)
    new = {f"{RULES}:1: is no", "old.md:3: Nobody", "scripts/a.py:3: Nobody"}
    assert status == 1
    assert places(printed) == new
    assert f"prose: 3 to reword; {RULES} says how." in printed
    assert places(check(repository.folder, "--all")[1]) == {f"{RULES}:1: is no", "old.md:1: Nobody", "old.md:3: Nobody"}


def test_moved_lines_do_not_count(repository):
    repository.git("mv", "old.md", "new.md")
    repository.commit({})
    assert check(repository.folder) == (0, "")
    repository.commit({"new.md": GOOD, "scripts/a.py": f'class A:\n    """A run.\n\n    {BAD}    """\n'})
    assert check(repository.folder) == (0, "")


def test_what_others_did_while_the_rules_were_on_a_branch_does_not_count(repository):
    repository.git("branch", "rules")
    repository.git("reset", "--quiet", "--hard", "HEAD~")
    repository.commit({"meanwhile.md": BAD})
    repository.git("merge", "--quiet", "--no-edit", "rules")
    assert check(repository.folder) == (0, "")


def test_without_the_history_nothing_is_checked_and_that_is_said(repository, tmp_path):
    repository.commit({"new.md": BAD})
    repository.git("clone", "--quiet", "--depth=1", repository.folder.as_uri(), str(tmp_path / "shallow"))
    assert check(tmp_path / "shallow") == (
        0,
        "prose: nothing is checked: this is a shallow clone; `git fetch --unshallow` completes it\n",
    )
    shutil.rmtree(repository.folder / ".git")
    status, printed = check(repository.folder)
    assert status == 0
    assert "nothing is checked: fatal: not a git repository" in printed
