"""What the documentation says is run: Python blocks, examples in docstrings, command lines and links.

A block of Python runs in an empty folder and shares its names with the blocks before it in the same file. A block that
cannot run in a test has the line ``<!-- skip: the reason -->`` before it.
"""

import doctest
import functools
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = [path for path in sorted((ROOT / "deepbelief").rglob("*.py")) if ">>> " in path.read_text("utf-8")]
BLOCK = re.compile(
    r"(?:^<!-- skip: (?P<reason>[^\n]+?) -->\n\s*)?^(?P<indent> *)```(?P<language>[\w+-]+)[^\n]*\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SHELLS = {"console", "bash", "sh", "shell"}
ENDS_A_COMMAND = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>"}
ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text, first line in the page, and why it must not run (empty: it runs)."""

    language: str
    code: str
    line: int
    reason: str


def blocks(text: str, languages: set[str]) -> list[Block]:
    """The fenced blocks of a page in the given languages."""
    found = []
    for match in BLOCK.finditer(text):
        if match["language"] in languages:
            code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
            line = text.count("\n", 0, match.start("code")) + 1
            found.append(Block(match["language"], code, line, match["reason"] or ""))
    return found


def run_block(block: Block, name: str, names: dict[str, object]) -> None:
    """Run a block; an error's traceback shows the page's name and line."""
    if not block.code.lstrip().startswith(">>> "):
        exec(compile("\n" * (block.line - 1) + block.code, name, "exec", dont_inherit=True), names)
        return
    example = doctest.DocTestParser().get_doctest(block.code, names, name, name, block.line - 1)
    outcome = doctest.DocTestRunner(optionflags=ELLIPSIS).run(example, clear_globs=False)
    names.update(example.globs)
    assert outcome.failed == 0, f"{outcome.failed} examples of {name}:{block.line} print something else"


def run_page(text: str, name: str, subtests: pytest.Subtests | None = None) -> None:
    """Run the Python blocks of a page, one after another, and report those that are skipped."""
    names: dict[str, object] = {"__name__": "__page__"}
    for block in blocks(text, {"python", "pycon"}):
        if not block.reason:
            run_block(block, name, names)
        elif subtests is not None:
            with subtests.test(f"line {block.line}"):
                pytest.skip(block.reason)


def commands(code: str, program: str) -> Iterator[list[str]]:
    """The argument lists with which a shell block calls `program`, behind prompts, paths, settings and pipes alike."""
    for line in code.replace("\\\n", " ").splitlines():
        if code.lstrip().startswith("$ ") and not line.lstrip().startswith("$ "):
            continue  # what the program prints
        lexer = shlex.shlex(re.sub(r"^\s*\$ ", "", line), posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        called: list[str] | None = None
        for word in [*lexer, ";"]:
            if word in ENDS_A_COMMAND:
                if called is not None:
                    yield called
                called = None
            elif called is not None:
                called.append(word)
            elif word.rsplit("/", 1)[-1] == program:
                called = []


@functools.cache
def help_text(*verbs: str) -> str:
    """What ``deepbelief VERB --help`` prints, as a wide and plain terminal shows it."""
    from deepbelief.cli.main import app

    plain = {"COLUMNS": "240", "TERMINAL_WIDTH": "240", "NO_COLOR": "1", "TERM": "dumb"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.rich_utils.MAX_WIDTH", 240)  # read from the environment when typer was imported
        done = CliRunner().invoke(app, [*verbs, "--help"], env=plain | {"FORCE_COLOR": None, "CLICOLOR_FORCE": None})
    assert done.exit_code == 0, f"deepbelief {' '.join(verbs)} --help failed: {done.output}"
    return done.output


def unknown_options(arguments: list[str]) -> list[str]:
    """The options of a command line that its verb's help does not name."""
    verbs: list[str] = []
    for word in arguments:
        if word.startswith("-") or "COMMAND" not in help_text(*verbs):
            break
        verbs.append(word)
    known = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", help_text(*verbs))) | {"--help"}
    used = [word.split("=")[0] for word in arguments if re.match(r"--?[A-Za-z]", word)]
    return [option for option in used if option not in known]


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p.read_text("utf-8"), {"python", "pycon"})], ids=page_id)
def test_python_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text("utf-8"), page_id(page), subtests)


@pytest.mark.parametrize("path", MODULES, ids=page_id)
def test_docstring_examples_print_what_they_say(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    outcome = doctest.testmod(module, optionflags=ELLIPSIS)
    assert outcome.failed == 0
    if outcome.attempted == 0 and "doctest: +SKIP" in path.read_text("utf-8"):
        pytest.skip("its only examples are marked +SKIP")
    assert outcome.attempted > 0


@pytest.mark.skipif(not (ROOT / "deepbelief/cli/main.py").exists(), reason="deepbelief/cli/main.py is absent")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p.read_text("utf-8"), SHELLS)], ids=page_id)
def test_command_lines_use_known_verbs_and_options(page: Path) -> None:
    for block in blocks(page.read_text("utf-8"), SHELLS):
        for arguments in commands(block.code, "deepbelief"):
            unknown = unknown_options(arguments)
            assert not unknown, f"{page_id(page)}:{block.line}: deepbelief {shlex.join(arguments)} has no {unknown}"


def test_make_targets_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    used = {
        word
        for page in PAGES
        for block in blocks(page.read_text("utf-8"), SHELLS)
        for arguments in commands(block.code, "make")
        for word in arguments
        if "=" not in word and not word.startswith("-")
    }
    assert used
    assert used <= targets


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text("utf-8"))
    targets = [target.split("#")[0] for target in LINK.findall(prose) if not re.match(r"\w+:|#", target)]
    assert [target for target in targets if not (page.parent / target).exists()] == []


# The checks themselves, on pages with something wrong.


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("```python\nx = 1\n```\ntext\n```python\nassert x == 2\n```\n", AssertionError),
        ("```python\n>>> 1 + 1\n3\n```\n", AssertionError),
        ("1. a list\n\n   ```python\n   import no_such_module\n   ```\n", ImportError),
    ],
    ids=["shared-names", "doctest", "indented"],
)
def test_a_wrong_python_block_is_caught(page: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        run_page(page, "page.md")


def test_traceback_of_a_block_names_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("# Title\n\n```python\nx = 1\n1 / 0\n```\n", "page.md")
    assert (str(caught.traceback[-1].path), caught.traceback[-1].lineno + 1) == ("page.md", 5)


def test_a_skipped_block_does_not_run_and_the_next_one_does() -> None:
    page = "<!-- skip: needs a GPU -->\n```python\n1 / 0\n```\n\n```python\nraise KeyError\n```\n"
    assert [block.reason for block in blocks(page, {"python"})] == ["needs a GPU", ""]
    with pytest.raises(KeyError):
        run_page(page, "page.md")


def test_command_lines_are_found_behind_prompts_settings_and_pipes() -> None:
    code = "$ DEEPBELIEF_DATA=~ .venv/bin/deepbelief train a.csv \\\n  --epochs 3 | tee log && deepbelief ls\nprinted\n"
    assert list(commands(code, "deepbelief")) == [["train", "a.csv", "--epochs", "3"], ["ls"]]
    assert list(commands("make demo  # deepbelief demo\n", "deepbelief")) == []
    assert list(commands("deepbelief sample --n 4 > x.json\n", "deepbelief")) == [["sample", "--n", "4"]]


def test_an_unknown_option_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {(): "Usage: deepbelief COMMAND", ("train",): "Usage: deepbelief train FILE\n --epochs -e  INTEGER"}
    monkeypatch.setitem(globals(), "help_text", lambda *verbs: pages[verbs])
    assert unknown_options(["train", "x.csv", "--epochs", "3", "-e", "-1"]) == []
    assert unknown_options(["train", "x.csv", "--epoch=3"]) == ["--epoch"]
    with pytest.raises(KeyError):
        unknown_options(["trian", "x.csv"])
