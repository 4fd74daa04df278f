"""What a user does wrong costs one line, exit code 2, and no import of torch."""

import subprocess
import sys

import pytest

from windvane.cli.app import global_flags_first
from windvane.cli.common.errors import Interrupted, describe, explain, guarded


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "No such command 'trian'"),
        (["train", "digits", "--otu", "x"], "No such option: --otu"),
        (["train", "digits"], "--out"),
        (["train", "--out", "{tmp}/x"], "no data given"),
        (["train", "{tmp}/nowhere", "--out", "{tmp}/x"], "there is no"),
        (
            ["train", "digits", "--out", "{tmp}/x", "--steps", "many"],
            "'--steps': Input should be a valid integer",
        ),
        (["train", "digits", "--out", "{tmp}/x", "--steps", "0"], "train.steps"),
        (["train", "digits", "--out", "{tmp}/x", "--set", "train.setps=3"], "did you mean 'steps'"),
        (["train", "digits", "--out", "{tmp}/x", "--set", "model.type=mlp", "--set", "model.patch=2"], "mlp"),
        (["train", "digits", "--out", "{tmp}/x", "--set", "process.sigma_max=80"], "vp_cosine"),
        (["train", "digits", "--out", "{tmp}/x", "--config", "{tmp}/none.yaml"], "not found"),
        (["train", "digits", "--out", "{tmp}/x", "--preset", "huge"], "unknown preset 'huge'"),
        (["train", "digits", "--out", "{tmp}/x", "--labels", "--annotate", "3"], "exclude each other"),
        (["train", "digits", "--out", "{tmp}/x", "--annotation", "{tmp}"], "is no annotation"),
        (
            ["train", "digits", "--out", "{tmp}/x", "--features", "pac", "--annotate", "3"],
            "unknown features 'pac'",
        ),
        (["train", "--out", "{tmp}/x", "--resume"], "no run to resume"),
        (["train", "digits", "--out", "{file}"], "is a file"),
        (["annotate", "digits"], "--out"),
        (["annotate", "digits", "--out", "{tmp}/a", "--k", "0"], "annotate.k"),
        (
            ["annotate", "digits", "--out", "{tmp}/a", "--features", "denoiser:{tmp}/none"],
            "no run or model folder",
        ),
        (["sample"], "which model?"),
        (["sample", "{tmp}/none", "--out", "{tmp}/s"], "no run or model folder"),
        (["sample", "{file}", "--out", "{tmp}/s"], "is a file"),
        (["sample", "{tmp}", "--out", "{tmp}/s", "--interval", "5"], "LOW,HIGH"),
        (["sample", "{tmp}", "--out", "{tmp}/s", "--interval", "5,1"], "low < high"),
        (["sample", "{tmp}", "--out", "{tmp}/s", "--sampler", "dimm"], "sample.sampler"),
        (["sample", "{tmp}", "--out", "{tmp}/s", "--force"], "--again"),
        (["sample", "--again", "{tmp}/none.png"], "picture not found"),
        (["sample", "--again", "{file}"], "not a readable picture"),
        (["sample", "--again", "{file}", "--weight", "2"], "give it alone"),
        (["evaluate"], "what?"),
        (["evaluate", "{tmp}/none"], "there is no run"),
        (["evaluate", "{tmp}"], "--reference"),
        (["report", "{tmp}/none"], "there is no run"),
        (["report", "{tmp}"], "is no run"),
        (["papers", "--cite", "self-guidde"], "self-guided"),
        (["train", "digits", "--out", "{tmp}/x", "--minutes", "inf"], "'--minutes': Input should be less"),
        (["annotate", "digits", "--out", "{tmp}/x", "--minutes", "inf"], "'--minutes': Input should be less"),
        (["stitch", "{tmp}", "{tmp}", "--parts", "1000000000"], "'--parts': Input should be less"),
        (["report", "{tmp}", "--steps", "1000000000"], "'--steps': Input should be less"),
        (["compare-solvers", "{tmp}", "--reference-steps", "1000000000"], "Input should be less"),
        (["annotate", "", "--out", "{tmp}/x"], "an argument is empty"),
        (["annotate", "digits", "--out", ""], "--out is empty; is a variable of the shell not set?"),
        (["sample", "{tmp}", "--out", ""], "--out is empty"),
        (["papers", "--state", "blue"], "'blue' is not one of"),
    ],
)
def test_a_mistake_is_answered_in_one_line(refused, tmp_path, words, said):
    file = tmp_path / "file.png"
    file.write_text("not a picture", encoding="utf-8")
    assert said in refused(*(word.format(tmp=tmp_path, file=file) for word in words))
    assert not (tmp_path / "x").exists(), "a refused command left a folder behind"


def test_a_mistake_is_found_before_torch_is_imported(tmp_path):
    program = (
        "import sys\n"
        "from windvane.cli import app\n"
        "for words in (['train', 'digits', '--out', sys.argv[1] + '/x', '--set', 'train.lr=1'],\n"
        "              ['sample', sys.argv[1] + '/none', '--out', 'y'], ['evaluate', sys.argv[1]],\n"
        "              ['--help'],\n"
        "              ['train', '--help'], ['papers']):\n"
        "    code = app(words, standalone_mode=False)\n"
        "    assert code in (0, 2), (words, code)\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("windvane: error:") == 3


def test_debug_shows_the_traceback_and_still_the_line(windvane, tmp_path):
    result = windvane("sample", tmp_path / "none", "--debug", out=tmp_path / "s")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr and result.stderr.splitlines()[-1].startswith("windvane: error: ")


def test_global_flags_may_stand_anywhere_before_a_double_dash():
    assert global_flags_first(["train", "x", "--quiet"]) == ["--quiet", "train", "x"]
    assert global_flags_first(["train", "--", "--quiet"]) == ["train", "--", "--quiet"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("two\n  lines"), 2, "windvane: error: two lines\n"),
        (FileNotFoundError(2, "No such file or directory", "a.yaml"), 2, "directory: a.yaml"),
        (ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"), 2, "windvane[data]"),
        (FloatingPointError("the loss is not finite"), 2, "the loss is not finite"),
        (KeyboardInterrupt(), 130, "windvane: interrupted\n"),
        (Interrupted("3 of 4 are there"), 130, "interrupted: 3 of 4 are there"),
    ],
)
def test_an_error_becomes_a_line_and_a_code(capsys, error, code, said):
    assert explain(error) == code
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1


def test_a_defect_keeps_its_traceback(capsys):
    def broken():
        return {}["missing"]

    assert guarded(broken) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "KeyError" in shown.splitlines()[-1] and "broken" in shown


def test_an_unknown_package_is_named(capsys):
    assert "pip install nonesuch" in describe(
        ModuleNotFoundError("No module named 'nonesuch'", name="nonesuch")
    )


def test_a_pipe_that_closes_early_is_no_error():
    command = f"{sys.executable} -m windvane papers | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("system")
