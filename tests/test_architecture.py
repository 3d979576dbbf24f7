"""The house rules: what imports what, how long things are, where random numbers come from, what is never unpickled.

Every rule is a function from a parsed file to complaints. Each must catch a planted offence, and find none here.
"""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "deepbelief").rglob("*.py"))
EVERYTHING = sorted(path for folder in ("deepbelief", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
Complaints = Iterator[tuple[int, str]]

LONGEST_FILE = 400
LONGEST_FUNCTION = 70
HEAVY = ("torch", "lightning_fabric", "matplotlib", "sklearn", "scipy", "pandas", "polars", "onnx", "tensorboard")
HEAVY += ("triton",)
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
DRAWS = {"torch." + name for name in ("rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal")}
DRAWS_IN_PLACE = {"bernoulli_", "uniform_", "normal_", "exponential_", "random_", "cauchy_", "geometric_"}
GLOBAL_SEEDS = {"torch.manual_seed", "torch.seed", "torch.random.manual_seed", "torch.cuda.manual_seed"}
NUMPY_WITHOUT_GLOBAL_STATE = {"default_rng", "Generator", "SeedSequence", "RandomState", "PCG64", "Philox"}
# A draw that no generator can be given to, or the global stream that such a draw reads, says why on its own line.
EXCUSE = "# global stream:"


def dotted(node: ast.AST) -> str:
    """``torch.nn.init`` for the nodes of that expression, an empty string for anything that is not a dotted name."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def imported_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The full name of everything that a file imports, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Every call in a file."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def short_file(tree: ast.Module, source: str) -> Complaints:
    """A file can be read in one sitting."""
    lines = len(source.splitlines())
    if lines > LONGEST_FILE:
        yield 1, f"{lines} lines, more than {LONGEST_FILE}"


def short_functions(tree: ast.Module, source: str) -> Complaints:
    """A function fits on a screen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield node.lineno, f"{node.name} has {lines} lines, more than {LONGEST_FUNCTION}"


def docstrings(tree: ast.Module, source: str) -> Complaints:
    """A file, and every public function and class at its top, says what it is for."""
    if not ast.get_docstring(tree):
        yield 1, "the file has no docstring"
    for node in tree.body:
        documented = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if documented and not node.name.startswith("_") and not ast.get_docstring(node):
            yield node.lineno, f"{node.name} has no docstring"


def nothing_unpickled(tree: ast.Module, source: str) -> Complaints:
    """Opening a file never runs code from it."""
    for line, name in imported_names(tree):
        if name.split(".")[0] in UNPICKLERS:
            yield line, f"imports {name}, which can run code from a file"
    for call in calls(tree):
        name = dotted(call.func)
        if name in {"torch.load", "torch.save"} or name.endswith(".read_pickle"):
            yield call.lineno, f"calls {name}"
        for keyword in call.keywords:
            if keyword.arg == "allow_pickle" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                yield call.lineno, "allow_pickle must be False"


def forked_lines(tree: ast.Module) -> set[int]:
    """The lines inside ``with torch.random.fork_rng():``, after which the caller's global stream comes back."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("fork_rng(" in ast.unparse(item) for item in node.items)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def explicit_draws(tree: ast.Module, source: str) -> Complaints:
    """Every random draw takes a generator; the global streams are neither read nor seeded without an excuse."""
    lines, forked = source.splitlines(), forked_lines(tree)
    for call in calls(tree):
        name, last = dotted(call.func), call.func.attr if isinstance(call.func, ast.Attribute) else ""
        excused = any(EXCUSE in line for line in lines[max(0, call.lineno - 2) : call.end_lineno])
        given = any(keyword.arg in {"generator", None} for keyword in call.keywords)
        if (name in GLOBAL_SEEDS or last == "seed_everything") and call.lineno not in forked:
            complaint = f"{name} seeds the global stream"
        elif (name in DRAWS or last in DRAWS_IN_PLACE or name.startswith("torch.nn.init.")) and not given:
            complaint = f"{name or last} draws without a generator"
        elif name.startswith(("np.random.", "numpy.random.")) and last not in NUMPY_WITHOUT_GLOBAL_STATE:
            complaint = f"{name} draws from NumPy's global stream"
        else:
            continue
        if not excused:
            yield call.lineno, complaint


def no_torch_distributions(tree: ast.Module, source: str) -> Complaints:
    """torch's distributions and Gumbel softmax sample without a generator."""
    for line, name in imported_names(tree):
        if name.startswith("torch.distributions"):
            yield line, f"imports {name}, which samples without a generator"
    for node in ast.walk(tree):
        if dotted(node).startswith("torch.distributions.") or dotted(node).endswith(".gumbel_softmax"):
            yield node.lineno, f"uses {dotted(node)}, which samples without a generator"


def finished(tree: ast.Module, source: str) -> Complaints:
    """No stubs, no notes to self, no swallowed errors."""
    for number, line in enumerate(source.splitlines(), start=1):
        if any(mark in line for mark in ("TODO", "FIXME", "XXX")):
            yield number, "a note to self"
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
            yield node.lineno, "a stub"
        if isinstance(node, ast.ExceptHandler):
            nothing = all(isinstance(statement, ast.Pass) for statement in node.body)
            broad = node.type is None or dotted(node.type) in {"Exception", "BaseException"}
            if broad and (nothing or node.type is None):
                yield node.lineno, "swallows every error"


def only_a_docstring(tree: ast.Module, source: str) -> Complaints:
    """A package's ``__init__`` re-exports nothing, so that importing one file does not import its neighbours."""
    if len(tree.body) > 1 or not ast.get_docstring(tree):
        yield 1, "an __init__ file holds one docstring and nothing else"


Rule = Callable[[ast.Module, str], Complaints]
LIBRARY_RULES: list[Rule] = [docstrings, nothing_unpickled, explicit_draws, no_torch_distributions, finished]
EVERYWHERE_RULES: list[Rule] = [short_file, short_functions]

PLANTED: list[tuple[Rule, str]] = [
    (short_file, "x = 1\n" * (LONGEST_FILE + 1)),
    (short_functions, "class A:\n    def f(self):\n" + "        x = 1\n" * LONGEST_FUNCTION),
    (docstrings, "x = 1"),
    (docstrings, '"""A file."""\ndef f(): ...'),
    (docstrings, '"""A file."""\nclass A: ...'),
    (nothing_unpickled, "def f():\n    from pickle import loads"),
    (nothing_unpickled, "import joblib.numpy_pickle"),
    (nothing_unpickled, "torch.load(path, weights_only=True)"),
    (nothing_unpickled, "np.load(path, allow_pickle=flag)"),
    (explicit_draws, "torch.rand(3)"),
    (explicit_draws, "x.bernoulli_(0.5)"),
    (explicit_draws, "torch.nn.init.normal_(w)"),
    (explicit_draws, "with torch.random.fork_rng():\n    pass\ntorch.manual_seed(0)"),
    (explicit_draws, "np.random.shuffle(x)"),
    (no_torch_distributions, "from torch.distributions import Normal"),
    (no_torch_distributions, "import torch\ntorch.distributions.Normal(0, 1).sample()"),
    (no_torch_distributions, "F.gumbel_softmax(x)"),
    (finished, "# TO" + "DO: later"),
    (finished, "raise NotImplementedError('later')"),
    (finished, "try:\n    f()\nexcept Exception:\n    pass"),
    (only_a_docstring, '"""A package."""\nfrom deepbelief.energy.rbm import RBM'),
]
INNOCENT: list[tuple[Rule, str]] = [
    (explicit_draws, "torch.rand(3, generator=g)\nnp.random.default_rng(0)\nshared.normal_(0, 1, generator=g)"),
    (explicit_draws, f"torch.manual_seed(0)  {EXCUSE} dropout takes no generator"),
    (explicit_draws, "with torch.random.fork_rng():\n    torch.manual_seed(0)"),
    (nothing_unpickled, "np.load(path, allow_pickle=False)"),
    (no_torch_distributions, "import torch.distributed\ntorch.distributed.init_process_group('gloo')"),
    (finished, "try:\n    f()\nexcept ValueError:\n    pass"),
    (only_a_docstring, '"""A package."""'),
]


def complaints(rule: Rule, source: str, name: str = "planted") -> list[str]:
    """What `rule` has to say about a file, each with its place."""
    return [f"{name}:{line}: {text}" for line, text in rule(ast.parse(source), source)]


@pytest.mark.parametrize(("rule", "source"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_rule_catches_a_planted_offence(rule: Rule, source: str) -> None:
    assert complaints(rule, source)


@pytest.mark.parametrize(("rule", "source"), INNOCENT, ids=lambda value: getattr(value, "__name__", ""))
def test_rule_leaves_innocent_code_alone(rule: Rule, source: str) -> None:
    assert not complaints(rule, source)


def offences(rule: Rule, paths: list[Path]) -> list[str]:
    """What `rule` has to say about many files."""
    return [text for path in paths for text in complaints(rule, path.read_text("utf-8"), str(path.relative_to(ROOT)))]


@pytest.mark.parametrize("rule", LIBRARY_RULES, ids=lambda rule: rule.__name__)
def test_library_keeps_the_house_rule(rule: Rule) -> None:
    assert not offences(rule, PACKAGE)


@pytest.mark.parametrize("rule", EVERYWHERE_RULES, ids=lambda rule: rule.__name__)
def test_all_code_keeps_the_house_rule(rule: Rule) -> None:
    assert not offences(rule, EVERYTHING)


def test_package_inits_hold_only_a_docstring() -> None:
    inits = [path for path in PACKAGE if path.name == "__init__.py" and path.parent.name != "deepbelief"]
    assert inits
    assert not offences(only_a_docstring, inits)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import floors of the package in `folder`."""
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    return subprocess.run([sys.executable, "-c", command], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_go_down_the_floors() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "line", "complaint"),
    [
        ("maths/upward.py", "import deepbelief.belief", "deepbelief.maths is not allowed to import deepbelief.belief"),
        ("data/sideways.py", "def f():\n    import deepbelief.networks", "deepbelief.data is not allowed to import"),
        ("attic/__init__.py", "", "attic"),
    ],
    ids=["upward", "sideways", "without-a-floor"],
)
def test_floors_catch_a_planted_import(tmp_path: Path, path: str, line: str, complaint: str) -> None:
    shutil.copytree(ROOT / "deepbelief", tmp_path / "deepbelief", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "deepbelief" / path
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(line)
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert complaint in done.stdout


def heavy_modules_after(statement: str) -> list[str]:
    """The heavy libraries that are loaded once `statement` has run in a fresh interpreter."""
    report = f"import atexit, json, sys\ndef report():\n    loaded = [m for m in {HEAVY} if m in sys.modules]\n"
    code = f"{report}    print(json.dumps(loaded), file=sys.stderr)\natexit.register(report)\n{statement}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_heavy_imports_are_noticed() -> None:
    assert heavy_modules_after("import scipy") == ["scipy"]


@pytest.mark.parametrize("statement", ["import deepbelief", "import deepbelief.errors"])
def test_package_imports_in_a_blink(statement: str) -> None:
    assert heavy_modules_after(statement) == []


@pytest.mark.skipif(not (ROOT / "deepbelief/cli/main.py").exists(), reason="deepbelief/cli/main.py is absent")
@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"]], ids=["import", "help", "version"])
def test_command_line_answers_without_heavy_imports(arguments: list[str]) -> None:
    call = f"sys.argv = {['deepbelief', *arguments]!r}\nmain()" if arguments else ""
    assert heavy_modules_after(f"import sys\nfrom deepbelief.cli.main import main\n{call}") == []
