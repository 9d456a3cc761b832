"""`python scripts/prose.py`: check the English of what was added since docs/style.md was, committed or not.

`--all` checks every line. It reads the docstrings and comments of Python, the comments of YAML, Markdown, and the text
of templates. Text in backticks is never checked, so a page can quote what it advises against.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
STYLE = "docs/style.md"

BE = r"\b(?:is|are|was|were|be|been|being)"
MORE = "more|less|fewer|longer|larger|smaller|greater|higher|lower|better|worse|faster|slower|easier|harder|different"
RULES = {  # a space stands for a line break too; case makes no difference
    rf"{BE} told\b": "say who tells whom; or: is reported, is distinguished",
    r"\btells? (?:of|what|by|which|how|whether)\b": "reports, shows, lists, decides",
    r"\bbec[ao]mes? of\b": "state, outcome, result",
    r"\bnobody\b": "no process, no run, no user",
    r"\bfor want of\b": "without; because there is no",
    r"\bdear(?:er|est)?\b": "expensive",
    r"\b(?:whatever|whoever)\b": "any, every, regardless of",
    r"\b(?:go|goes|going|went) on\b(?! to\b)": "continue, resume",
    r"\bas far as (?:it|its|they|their|is|are)\b": "if, up to, as much as",
    rf"(?<!there ){BE} none\b": "is not one",
    rf"(?<!there ){BE} no (?!(?:{MORE})\b)": "is not a",
    rf"{BE} to be\b": "must be, will be",
    r"\b(?:says?|said|knows?|known|hears?|heard) (?:(?:nothing|something|anything|little) )?of\b": "about",
    r"\bmay not\b|\bno (?:\w+ ){1,3}may\b": "cannot (impossible), must not (forbidden), might not (uncertain)",
    r"\b(?!(?:each|one|two|some|most|many|none|both|all|any|half|part)\b)\w+ of (?:which|whom)\b": "whose, that",
    r"\bone (?!that)(?:\w+ )?an? (?:configuration|file|folder|job|line|member|process|replica|run|step)\b": "one per",
    r"^\*{0,2}\w+: (?:Of|Who|That of)\b": "begin with the noun: 'path: Path of the lock.'",
    r"\b(?:Returns|Yields): (?:They|Them|Those|These|It|Both|One)\.": "name what comes back, with its shape and unit",
    r"\bin order to\b|\butili[sz]\w+|\bdue to the fact\b|\blest\b|\bw?here(?:of|upon)\b": "use a plain word",
    r"\b([a-z]{2,}) \1\b": "once is enough",
    r"""(?<!\S)(?:(?!\S*[.!?:;|=]["')]* )\S+ ){40}\S+""": "at most 40 words a sentence",
}
PATTERNS = [(re.compile(r.replace(" ", r"\s"), re.IGNORECASE | re.MULTILINE), advice) for r, advice in RULES.items()]
NO_NOUN = re.compile(r"(?:That|What|Who|Whoever|Why|Of)\b")
NO_VERB = re.compile(rf"(?:{NO_NOUN.pattern}|An?|The|This|It|One|All|Every|When|Where|Whether|Which|How|For|From)\b")
BEGINS = re.compile(r"[-+>#] |\* |\d+\. |\||\*{0,2}\w+(?: \(\w+\))?: ")  # a list item, row, heading or entry of Args
QUOTED = re.compile(r"`[^`]+`")
MARKUP = {
    ".md": re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE),
    ".j2": re.compile(r"<(style|script)\b.*?</\1>|\{[{%#].*?[}%#]\}|<[^>]*>", re.DOTALL),
}
SUFFIXES = (".py", ".yaml", *MARKUP)


def blank(match: re.Match[str]) -> str:
    """Replace a match by a bar, which ends a sentence, and its line breaks."""
    return "|" + "\n" * match[0].count("\n")


def docstrings(source: str) -> Iterator[tuple[ast.AST | None, ast.Constant, str]]:
    """Yield every docstring: the module, class or function it opens (None for an attribute's), its node, its text."""
    for owner in ast.walk(ast.parse(source)):
        if isinstance(owner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for index, statement in enumerate(owner.body):
                match statement:
                    case ast.Expr(value=ast.Constant(value=str(text)) as node):
                        yield owner if index == 0 else None, node, text.strip()


def prose(suffix: str, source: str) -> list[str]:
    """Return the lines of a file with everything but prose taken out."""
    if suffix in MARKUP:
        return MARKUP[suffix].sub(blank, source).split("\n")
    lines = source.split("\n")
    if suffix == ".yaml":
        comments = [(row, found) for row, line in enumerate(lines) if (found := re.search(r"(?:^|\s)(#.*)", line))]
        places = [(row, found.start(1), found[1]) for row, found in comments]
    else:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        places = [(t.start[0] - 1, t.start[1], t.string) for t in tokens if t.type == tokenize.COMMENT]
    kept = [""] * len(lines)
    for row, column, comment in places:
        stands_alone = not lines[row][:column].strip()
        kept[row] = comment.lstrip("#:! ") + ("" if stands_alone else "|")
    if suffix == ".py":
        for _, node, _ in docstrings(source):
            rows = slice(node.lineno - 1, node.end_lineno)
            kept[rows] = [line.replace('"""', "") for line in lines[rows]]
    return kept


def paragraphs(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield every paragraph with the number of its first line."""
    first, held = 1, list[str]()
    for number, line in enumerate([*lines, ""], 1):
        text = " ".join(line.split())
        if held and (not text or BEGINS.match(text)):
            yield first, QUOTED.sub(blank, "\n".join(held))
            held = []
        if text:
            first = first if held else number
            held.append(text)


def opening(owner: ast.AST | None, text: str) -> str | None:
    """Return what to do about the first words of a docstring; None if they are fine."""
    decorators = " ".join(ast.unparse(each) for each in getattr(owner, "decorator_list", []))
    does = isinstance(owner, ast.FunctionDef | ast.AsyncFunctionDef) and not owner.name.startswith("test_")
    if does and not re.search(r"property|setter|fixture", decorators):
        return "begin with a verb: 'Return the runs below a folder.'" if NO_VERB.match(text) else None
    return "begin with a noun: 'State of a run.'" if NO_NOUN.match(text) else None


def findings(suffix: str, source: str) -> Iterator[tuple[int, int, str, str]]:
    """Yield the first and last line, the words and the advice for everything that should be said differently."""
    for first, text in paragraphs(prose(suffix, source)):
        for pattern, advice in PATTERNS:
            for found in pattern.finditer(text):
                line = first + text.count("\n", 0, found.start())
                yield line, line + found[0].count("\n"), " ".join(found[0].split()), advice
    if suffix == ".py":
        for owner, node, text in docstrings(source):
            if advice := opening(owner, text):
                yield node.lineno, node.lineno, " ".join(text.split()[:3]), advice


def git(*arguments: str) -> str:
    """Return what a git command prints about this repository."""
    command = ["git", "-C", str(ROOT), "-c", "core.quotePath=false", *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def added_lines() -> dict[str, set[int]]:
    """Find what is new since docs/style.md was added.

    Returns:
        The numbers of the new lines of every file, from 1. A line that was taken out elsewhere is moved, not new,
        however it is indented now.

    Raises:
        LookupError: The history that would show it is missing.
    """
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise LookupError("this is a shallow clone; `git fetch --unshallow` completes it")
    # A merge that brings the page counts as adding it: what others did meanwhile is not held against it.
    if not (began := git("log", "--first-parent", "-m", "--diff-filter=A", "--format=%H", "--", STYLE).split()):
        raise LookupError(f"no commit adds {STYLE}")
    removed, added = set[str](), defaultdict[str, dict[int, str]](dict)
    path, number = "", 0
    options = ("-U0", "--no-renames", "--no-ext-diff", "--no-color", "--no-prefix")
    for line in git("diff", *options, began[-1]).split("\n"):
        if line.startswith("+++ "):
            path = line[4:].rstrip("\t")
        elif hunk := re.match(r"@@ -\S+ \+(\d+)", line):
            number = int(hunk[1])
        elif line.startswith("-"):
            removed.add(line[1:].strip())
        elif line.startswith("+"):
            added[path][number] = line[1:].strip()
            number += 1
    for path in git("ls-files", "--others", "--exclude-standard").splitlines():
        if path.endswith(SUFFIXES):
            added[path] = dict(enumerate((ROOT / path).read_text("utf-8").split("\n"), 1))
    return {path: {number for number, line in lines.items() if line not in removed} for path, lines in added.items()}


def main(arguments: list[str]) -> int:
    """Print what should be said differently; return 1 if anything should, else 0."""
    try:
        new = added_lines() if arguments != ["--all"] else dict.fromkeys(git("ls-files").splitlines())
    except (LookupError, OSError, subprocess.CalledProcessError) as problem:
        print(f"prose: nothing is checked: {getattr(problem, 'stderr', None) or problem}")
        return 0
    counts = Counter[str]()
    for path in sorted(path for path in new if path.endswith(SUFFIXES) and (ROOT / path).is_file()):
        lines = new[path]
        for first, last, words, advice in findings(Path(path).suffix, (ROOT / path).read_text("utf-8")):
            if lines is None or lines.issuperset(range(first, last + 1)):
                print(f"{path}:{first}: {words}: {advice}")
                counts[advice] += 1
    for advice, count in counts.most_common() if arguments else ():
        print(f"{count:6} {advice}")
    if counts:
        print(f"prose: {counts.total()} to reword; {STYLE} says how.")
    return int(bool(counts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
