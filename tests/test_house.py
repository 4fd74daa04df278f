"""Rules of the house that hold for the whole package, checked on its sources and by fresh processes."""

import ast
import os
import resource
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "windvane").rglob("*.py"))
HEAVY = {"diffusers", "transformers", "sklearn", "accelerate", "matplotlib", "pyarrow", "scipy", "datasets"}
HEAVY |= {
    "torchmetrics",
    "pandas",
    "PIL",
    "safetensors",
    "huggingface_hub",
    "faiss",
    "peft",
    "gradio",
    "torchvision",
}
# Rooms whose users have asked for them already, so that the library may be imported with the module.
HEAVY_ALLOWED: dict[str, set[str]] = {}
CORE = [
    "process",
    "denoiser",
    "convert",
    "conditions",
    "grids",
    "randomness",
    "exact",
    "evaluations",
    "progress",
]
GLOBAL_SEEDS = {"torch.manual_seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all", "torch.seed"}
GLOBAL_SEEDS |= {
    "torch.default_generator.manual_seed",
    "torch.set_rng_state",
    "np.random.seed",
    "numpy.random.seed",
    "random.seed",
    "transformers.set_seed",
    "set_seed",
}


def name_of(path):
    return str(path.relative_to(ROOT))


def dotted(node):
    """`torch.manual_seed` for the attribute node of that name, None for anything that is not a plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return None


def module_level(tree):
    """Every statement that runs when the module is imported; `if TYPE_CHECKING:` blocks do not run."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and dotted(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting.extend(node.orelse)
            continue
        yield node
        waiting.extend(
            child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.expr))
        )


def imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def code_lines(function, text):
    """Lines of code in a function's body: no signature, no docstring, no comments, no blank lines."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    rows = text.splitlines()
    lines = {line for node in body for line in range(node.lineno, node.end_lineno + 1)}
    return sum(1 for line in lines if rows[line - 1].strip() and not rows[line - 1].strip().startswith("#"))


def restoring(tree):
    """All nodes inside a `try` whose `finally` puts the random state back, and inside `with fork_rng`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            calls = {
                dotted(n.func) for part in node.finalbody for n in ast.walk(part) if isinstance(n, ast.Call)
            }
            if "torch.set_rng_state" in calls:
                yield from ast.walk(node)
        if isinstance(node, ast.With):
            calls = {
                dotted(item.context_expr.func)
                for item in node.items
                if isinstance(item.context_expr, ast.Call)
            }
            if "torch.random.fork_rng" in calls:
                yield from ast.walk(node)


def offences(path, text, tree):
    """Every breach of a rule in one file."""
    if len(text.splitlines()) > 300:
        yield f"{len(text.splitlines())} lines, more than 300"
    scoped = set(restoring(tree))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and code_lines(node, text) > 80:
            yield f"line {node.lineno}: {node.name} has {code_lines(node, text)} lines of code, more than 80"
        if isinstance(node, ast.Call) and dotted(node.func) in GLOBAL_SEEDS and node not in scoped:
            yield f"line {node.lineno}: {dotted(node.func)} seeds globally; use windvane.randomness"
        if isinstance(node, ast.Attribute) and node.attr == "inference_mode":
            yield f"line {node.lineno}: inference_mode bars gradients for good; use no_grad"
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if dotted(raised) == "NotImplementedError":
                yield f"line {node.lineno}: a stub"
    for node in module_level(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "torch.set_grad_enabled":
            yield f"line {node.lineno}: gradients switched off for everybody who imports this"
    heavy = {name.split(".")[0] for name in imports(module_level(tree))} & HEAVY
    for name in heavy - HEAVY_ALLOWED.get(path, set()):
        yield f"{name} is imported with the module; import it in the function that needs it"
    for line, row in enumerate(text.splitlines(), 1):
        if "TODO" in row or "FIXME" in row:
            yield f"line {line}: unfinished"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_source_file_keeps_the_rules(path):
    text = path.read_text(encoding="utf-8")
    found = list(offences(name_of(path), text, ast.parse(text)))
    assert not found, f"{name_of(path)}:\n  " + "\n  ".join(found)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\n" * 301, "more than 300"),
        ("def f():\n" + "    x = 1\n" * 81, "more than 80"),
        ("import torch\ndef f():\n    torch.manual_seed(0)\n", "seeds globally"),
        ("import numpy as np\nnp.random.seed(0)\n", "seeds globally"),
        ("import torch\ntorch.set_grad_enabled(False)\n", "switched off"),
        ("import torch\ndef f():\n    with torch.inference_mode():\n        pass\n", "inference_mode"),
        (
            "try:\n    from diffusers import UNet2DModel\nexcept ImportError:\n    pass\n",
            "diffusers is imported",
        ),
        ("class A:\n    import scipy.linalg\n", "scipy is imported"),
        ("def f():\n    raise NotImplementedError\n", "a stub"),
        ("x = 1  # TO" + "DO\n", "unfinished"),
    ],
)
def test_the_rules_catch_a_breach(text, complaint):
    assert any(complaint in found for found in offences("example.py", text, ast.parse(text)))


def test_the_rules_let_good_code_pass():
    text = (
        '"""A module."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import diffusers\n'
        "def f():\n    import scipy\n    return scipy\n"
        "def g():\n    kept = torch.get_rng_state()\n    try:\n        torch.manual_seed(0)\n"
        "    finally:\n        torch.set_rng_state(kept)\n"
    )
    assert not list(offences("example.py", text, ast.parse(text)))


@pytest.mark.parametrize("name", CORE)
def test_the_core_needs_torch_and_nothing_heavier(name):
    tree = ast.parse((ROOT / "src" / "windvane" / f"{name}.py").read_text(encoding="utf-8"))
    foreign = {module.split(".")[0] for module in imports(ast.walk(tree))} - set(sys.stdlib_module_names)
    assert foreign <= {"torch", "numpy", "windvane", "rich", "tqdm"}


def test_the_import_contract_names_every_room():
    """A room that the layers do not name would be outside the contract, and nobody would notice."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    named = {name.strip(" ()").removeprefix("windvane.") for layer in layers for name in layer.split("|")}
    rooms = {path.relative_to(ROOT / "src" / "windvane").parts[0].removesuffix(".py") for path in SOURCES}
    assert rooms - named == {"__init__", "__main__", "_moved", "_version", "catalog"}


def test_the_command_line_contains_no_method():
    """It parses, calls and prints: no networks, no guidance, no solver, no gradients of its own."""
    for room in ("cli", "studio"):
        for path in (ROOT / "src" / "windvane" / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    bases = {(dotted(base) or "").split(".")[-1] for base in node.bases}
                    assert not bases & {"Module", "Denoiser", "Network", "Sampler"}, (
                        f"{name_of(path)}: {node.name}"
                    )
                if isinstance(node, ast.Attribute):
                    assert node.attr not in ("backward", "autograd", "functional"), (
                        f"{name_of(path)}:{node.lineno}"
                    )


def test_samplers_know_no_guidance():
    for path in (ROOT / "src" / "windvane" / "samplers").rglob("*.py"):
        used = list(imports(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
        assert not [module for module in used if module.startswith("windvane.guidance")], name_of(path)


def plain_environment():
    """The environment without the tests' own start-up file, whose imports are not Windvane's."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def cpu_seconds(command):
    """CPU time, user and system, of a process: the least of three, since other work may disturb one."""
    least = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            command, check=True, capture_output=True, cwd=ROOT, env=plain_environment(), timeout=120
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return least


@pytest.mark.parametrize("arguments", [["-c", "import windvane"], ["-m", "windvane", "--help"]], ids=str)
def test_starting_takes_less_than_half_a_second(arguments):
    assert cpu_seconds([sys.executable, *arguments]) < 0.5


@pytest.mark.parametrize("arguments", [[], ["--help"], ["papers"], ["train", "--help"]], ids=str)
def test_what_needs_no_torch_does_not_import_it(arguments):
    heavy = ["torch", "numpy", *sorted(HEAVY)]
    program = (
        "import runpy, sys\n"
        "import windvane\n"
        f"sys.argv = ['windvane', *{arguments!r}]\n"
        f"if {arguments!r}:\n"
        "    try:\n"
        "        runpy.run_module('windvane', run_name='__main__')\n"
        "    except SystemExit as exit:\n"
        "        assert not exit.code, exit.code\n"
        f"print('heavy:', *(name for name in {heavy!r} if name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=plain_environment(), timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy:"


@pytest.mark.network_attempt
@pytest.mark.parametrize("host", ["example.com", "192.0.2.1", "2001:db8::1"])
def test_the_network_is_closed_to_the_tests(host, network_log):
    with pytest.raises(OSError, match="without a network"):
        socket.create_connection((host, 80), timeout=2)
    with pytest.raises(urllib.error.URLError, match="without a network"):
        urllib.request.urlopen(f"http://[{host}]/" if ":" in host else f"http://{host}/", timeout=2)
    assert host in network_log.read_text(encoding="utf-8")


@pytest.mark.network_attempt
def test_the_network_is_closed_to_their_children(network_log):
    before = network_log.read_text(encoding="utf-8")
    program = "import socket; socket.create_connection(('198.51.100.7', 80), timeout=2)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "NetworkBlocked" in done.stderr
    assert "198.51.100.7" in network_log.read_text(encoding="utf-8").removeprefix(before)


def test_two_processes_of_this_machine_may_talk():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            connection, _ = server.accept()
            with connection:
                client.sendall(b"here")
                assert connection.recv(4) == b"here"
