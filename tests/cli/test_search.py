"""`windvane search`: every method, stopping and going on, refusals."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from windvane.cli.search.methods import METHODS, settings_for
from windvane.pictures import read_pixels, read_settings, save_png, to_picture
from windvane.search import expansion, load_found, log_z
from windvane.search.states import States

QUICK = {"budget": 600, "steps": 5}


def told(out):
    return json.loads((out / "search.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_its_best_picture(windvane, unconditional, tmp_path, method):
    settings = ["--with", "particles=16"] if method == "fk" else []
    result = windvane(
        "search", unconditional, "--reward", "brightness", *settings, method=method, out=tmp_path, **QUICK
    )
    assert result.exit_code == 0, result.output
    found = told(tmp_path)
    # What is left pays for no whole search over paths, which takes 174 here.
    assert found["done"] and (600 - 174 if method == "paths" else 500) < found["network_rows"] <= 600
    picture = read_pixels(tmp_path / "best.png")
    assert picture.shape == (1, 64, 64)
    mean = picture.astype(float).mean() / 127.5 - 1
    # The reward saw the sample itself; its picture is clipped to the range of pixels.
    assert mean == pytest.approx(found["scores"][0], abs=0.05)
    assert read_settings(tmp_path / "best.png")["method"] == method
    assert (tmp_path / "samples.png").exists() == (method in ("fk", "dts", "dts-star"))


@pytest.mark.parametrize("method", ["best-of", "zero-order", "dts", "dts-star"])
def test_more_budget_and_resume_equal_one_search(windvane, unconditional, tmp_path, method):
    """Twice on, from budgets that cut batches and rounds."""
    common = ["search", unconditional, "--reward", "contrast", "--method", method, "--steps", 5]
    for budget in (333, 700):
        made = windvane(
            *common, "--out", tmp_path / "part", "--budget", budget, *["--resume"][: budget > 333]
        )
        assert made.exit_code == 0, made.output
    for name, more in (("whole", []), ("part", ["--resume"])):
        made = windvane(*common, "--out", tmp_path / name, "--budget", 1200, *more)
        assert made.exit_code == 0, made.output
    whole, part = told(tmp_path / "whole"), told(tmp_path / "part")
    assert part["scores"] == pytest.approx(whole["scores"], rel=1e-4)
    for name in ("network_rows", "verified"):
        assert part[name] == whole[name] and whole["network_rows"] >= 1190
    pictures = [read_pixels(tmp_path / name / "best.png").astype(int) for name in ("whole", "part")]
    assert abs(pictures[0] - pictures[1]).max() <= 1


def test_fk_draws_from_all_sweeps_by_their_weights(windvane, unconditional, tmp_path):
    """With a strong reward most particles weigh nothing: the samples are those that do, of every sweep."""
    made = windvane(
        "search", unconditional, "--reward", "brightness", "--with", "particles=8", "--with", "lam=40",
        "--with", "ess=0", "--n", 12, "--seed", 5, "--steps", 5, method="fk", out=tmp_path, budget=170,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    found = load_found(tmp_path / "state.safetensors")
    assert found.memory["particles"].shape[:2] == (1, 32)
    assert f"4 sweeps of 8 particles, log E exp(lam r) about {float(log_z(found)):.4g}" in made.stdout
    weights = found.memory["log_weights"][0].exp()
    means = found.memory["particles"][0].clamp(-1, 1).mean((1, 2, 3)).double()
    assert float((weights * means).sum() - means.mean()) > 0.05, "the weights change the law"
    drawn = [read_pixels(tmp_path / "samples" / f"{k:04d}.png").astype(float).mean() for k in range(12)]
    assert np.mean(drawn) / 127.5 - 1 == pytest.approx(float((weights * means).sum()), abs=0.02)
    assert len(list((tmp_path / "samples").iterdir())) == 12


def test_a_search_is_not_mixed_with_another(windvane, refused, unconditional, tmp_path):
    out = tmp_path / "out"
    common = ["search", unconditional, "--out", out, "--budget", 50, "--steps", 5]
    assert windvane(*common, "--reward", "brightness").exit_code == 0
    assert "--resume to go on" in refused(*common, "--reward", "brightness")
    assert "other settings (reward" in refused(*common, "--reward", "contrast", "--resume")
    tree = [*common[:2], "--out", tmp_path / "tree", *common[4:], "--reward", "contrast", "--method", "dts"]
    assert windvane(*tree).exit_code == 0
    assert "other settings (tree_batch 16, now 4)" in refused(*tree, "--resume", "--batch-size", 4)
    assert windvane(*tree, "--resume", "--batch-size", 32).exit_code == 0
    assert "leave out --resume" in refused(
        "search", unconditional, "--out", tmp_path / "new", "--budget", 50, "--reward", "contrast", "--resume"
    )


def test_ctrl_c_stops_and_resume_goes_on(unconditional, windvane, tmp_path):
    command = ["search", str(unconditional), "--reward", "brightness", "--method", "dts", "--steps", "5"]
    child = subprocess.Popen(
        [sys.executable, "-m", "windvane", *command, "--out", str(tmp_path), "--budget", "10000000"],
        stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    for _ in range(600):
        if (tmp_path / "search.json").exists():
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130 and "--resume goes on" in error, error
    before = told(tmp_path)
    result = windvane(*command, "--out", tmp_path, "--budget", before["network_rows"] + 500, "--resume")
    assert result.exit_code == 0, result.output
    assert before["network_rows"] < told(tmp_path)["network_rows"] <= before["network_rows"] + 500
    assert told(tmp_path)["scores"][0] >= before["scores"][0]


def broken_off(child, how):
    """End a process as a user or the system would, and give it back when it is gone."""
    if how == "kill -9":
        child.send_signal(signal.SIGKILL)
    else:  # the second Ctrl-C does not wait for the batch
        child.send_signal(signal.SIGINT)
        time.sleep(0.05)
        child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    return child


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C twice"])
def test_a_tree_that_was_broken_off_and_resumed_equals_one_that_was_not(
    unconditional, windvane, tmp_path, how
):
    """In mid-growth, at whatever point: the nodes, rewards, states and pictures are the same."""
    slow = "import time\n\n\ndef score(x):\n    time.sleep(0.3)\n    return x.flatten(1).std(1)\n"
    (tmp_path / "mine.py").write_text(slow)
    command = [
        "search",
        str(unconditional),
        "--reward",
        f"{tmp_path}/mine.py:score",
        "--method",
        "dts",
        "--steps",
        "5",
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "windvane", *command, "--out", str(tmp_path / "part"), "--budget", "1000000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    saved = tmp_path / "part" / "tree" / "tree.npz"
    for _ in range(1200):
        if saved.exists():
            break
        time.sleep(0.05)
    time.sleep(0.7)  # two batches more, which were not saved, and into the reward of the third
    assert broken_off(child, how).returncode == (-signal.SIGKILL if how == "kill -9" else 130)
    about = json.loads(np.load(saved)["about"].tobytes())
    assert about["grown"] > 16
    (tmp_path / "mine.py").write_text(slow.replace("    time.sleep(0.3)\n", ""))
    budget = about["spent"][2] + 120  # in rewards: what was broken off had made network evaluations already
    for name, more in (("part", ["--resume"]), ("whole", [])):
        made = windvane(*command, "--out", tmp_path / name, "--verifier-budget", budget, *more)
        assert made.exit_code == 0, made.output
    part, whole = (dict(np.load(tmp_path / name / "tree" / "tree.npz")) for name in ("part", "whole"))
    about = [json.loads(tree.pop("about").tobytes()) for tree in (part, whole)]
    assert all(np.array_equal(part[name], whole[name], equal_nan=True) for name in whole)
    assert about[0]["grown"] == about[1]["grown"]
    lost = about[0]["spent"][1] - about[1]["spent"][1]
    assert lost == 0 if how == "kill -9" else 0 <= lost <= 5 * 16, (
        "a batch that Ctrl-C broke off was paid for"
    )
    states = [next((tmp_path / name / "tree").glob("states-*")).read_bytes() for name in ("part", "whole")]
    assert states[0] == states[1]
    for name in ("best.png", "samples.png"):
        pictures = [read_pixels(tmp_path / folder / name) for folder in ("part", "whole")]
        assert np.array_equal(*pictures)
    assert told(tmp_path / "part")["scores"] == told(tmp_path / "whole")["scores"]


def test_own_rewards_likeness_and_ranks(windvane, unconditional, tmp_path):
    (tmp_path / "mine.py").write_text("def left(x):\n    return x[:, :, :, :4].mean((1, 2, 3))\n")
    save_png(to_picture(np.full((1, 8, 8), 200, np.uint8)), tmp_path / "grey.png")
    common = ["search", unconditional, "--budget", 200, "--steps", 5]
    for number, spec in enumerate([f"{tmp_path}/mine.py:left", f"like:{tmp_path}/grey.png"]):
        result = windvane(*common, "--reward", spec, "--out", tmp_path / str(number))
        assert result.exit_code == 0, result.output
    both = windvane(
        *common, "--reward", f"{tmp_path}/mine.py:left", "--reward", "smoothness", "--out", tmp_path / "both"
    )
    assert both.exit_code == 0 and told(tmp_path / "both")["verified"] == 80


def test_the_sampler_is_told_as_in_sampling(windvane, refused, model, tmp_path):
    """The flags of `windvane sample` reach the search: solver, steps, grid, weight, interval and weights."""
    flags = [
        "--solver",
        "unipc3",
        "--steps",
        4,
        "--grid",
        "edm",
        "--weight",
        2,
        "--interval",
        "0.1,5",
        "--weights",
        "raw",
    ]
    common = ["search", model, "--reward", "brightness", "--cluster", 0, "--budget", 100]
    made = windvane(*common, *flags, "--out", tmp_path / "out")
    assert made.exit_code == 0, made.output
    wanted = {
        "sampler": "unipc3",
        "steps": 4,
        "grid": "edm",
        "weight": 2.0,
        "interval": [0.1, 5.0],
        "weights": "raw",
    }
    settings = read_settings(tmp_path / "out" / "best.png")
    assert {name: settings[name] for name in wanted} == wanted
    # The same seed with the same flags is the picture of `windvane sample`: candidate 0 of a budget for one.
    once = windvane(*common[:-1], 8, *flags, "--out", tmp_path / "once")
    assert once.exit_code == 0 and told(tmp_path / "once")["verified"] == 1
    assert (
        windvane("sample", model, "--cluster", 0, "--n", 1, *flags, "--out", tmp_path / "plain").exit_code
        == 0
    )
    plain = read_pixels(tmp_path / "plain" / "00000000.png").astype(float).mean() / 127.5 - 1
    assert plain == pytest.approx(told(tmp_path / "once")["scores"][0], abs=0.05)
    assert "grid" in refused(*common, "--out", tmp_path / "no", "--grid", "magic")


@pytest.mark.parametrize("method", ["dts", "dts-star"])
def test_a_tree_keeps_its_states_on_the_disk_from_the_start(
    windvane, unconditional, tmp_path, method, monkeypatch
):
    """Also when it is taken up again; there is one file of states, as long as the tree."""
    seen = []
    append = States.append
    monkeypatch.setattr(States, "append", lambda self, rows: (seen.append(self.path), append(self, rows)))
    common = [
        "search",
        unconditional,
        "--reward",
        "contrast",
        "--method",
        method,
        "--steps",
        5,
        "--out",
        tmp_path,
    ]
    for more in (["--budget", 200], ["--budget", 400, "--resume"]):
        assert windvane(*common, *more).exit_code == 0
    (states,) = (tmp_path / "tree").glob("states-*.bin")
    assert seen and {path.parent for path in seen} == {tmp_path / "tree"}
    arrays = np.load(tmp_path / "tree" / "tree.npz")
    assert states.stat().st_size == (len(arrays["parent"]) - 1) * 64 * 2


def test_searches_side_by_side_make_one_grid(windvane, model, tmp_path):
    result = windvane(
        "search", model, "--reward", "brightness", n=4, cluster=1, weight=2, out=tmp_path, budget=400, steps=5
    )
    assert result.exit_code == 0, result.output
    assert len(told(tmp_path)["scores"]) == 4 and told(tmp_path)["network_rows"] == 400


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--reward", "beauty"], "unknown reward 'beauty'"),
        ([], "which reward"),
        (["--reward", "brightness", "--method", "magic"], "unknown method 'magic'"),
        (["--reward", "brightness", "--with", "lam=2"], "the settings of best-of are none"),
        (["--reward", "brightness", "--method", "dts", "--with", "lam=much"], "lam takes a float"),
        (["--reward", "brightness", "--method", "dts", "--sampler", "ddim"], "branches by the noise"),
        (["--reward", "nowhere.py:f"], "there is no file nowhere.py"),
        (["--reward", "like:nowhere.png"], "there is no picture"),
        (["--reward", "class:3"], "needs a run that tells what it was trained on"),
        (["--reward", "brightness", "--reward", "contrast", "--method", "fk"], "ranks exist among"),
    ],
    ids=["reward", "none", "method", "setting", "value", "sampler", "file", "picture", "class", "ranks"],
)
def test_what_is_refused(refused, unconditional, tmp_path, flags, match):
    line = refused("search", unconditional, *flags, out=tmp_path / "out", budget=100)
    assert match in line
    assert not (tmp_path / "out" / "best.png").exists()


@pytest.mark.parametrize("method", ["dts", "fk"])
def test_more_samples_of_a_finished_search_cost_nothing(windvane, refused, unconditional, tmp_path, method):
    few = ["--with", "particles=8"] if method == "fk" else []
    common = ["search", unconditional, "--reward", "contrast", *few, "--method", method, "--steps", 5]
    first = windvane(*common, "--out", tmp_path, "--budget", 200, "--n", 4)
    assert first.exit_code == 0, first.output
    before = told(tmp_path)
    for n in (40, 3):
        again = windvane(*common, "--out", tmp_path, "--budget", 200, "--n", n, "--resume")
        assert again.exit_code == 0, again.output
        assert len(list((tmp_path / "samples").iterdir())) == n
        assert told(tmp_path)["network_rows"] == before["network_rows"]
    side_by_side = ["search", unconditional, "--reward", "contrast", "--steps", 5, "--out", tmp_path / "best"]
    assert windvane(*side_by_side, "--budget", 50, "--n", 2).exit_code == 0
    assert "other settings (n 2, now 3)" in refused(*side_by_side, "--budget", 90, "--n", 3, "--resume")


def test_an_infinite_lam_is_written_and_read_again(windvane, unconditional, tmp_path):
    """It backs up the maximum, and there is no log Z."""
    common = ["search", unconditional, "--reward", "contrast", "--method", "dts", "--with", "lam=inf"]
    for budget, more in ((100, []), (200, ["--resume"])):
        made = windvane(*common, "--steps", 5, "--out", tmp_path, "--budget", budget, *more)
        assert made.exit_code == 0, made.output
        assert "nodes; " in made.stdout and "log E" not in made.stdout
    assert told(tmp_path)["settings"]["settings"]["lam"] == "inf" and told(tmp_path)["network_rows"] > 190


def test_a_tree_that_branches_too_seldom_ends_with_a_line(windvane, unconditional, tmp_path, monkeypatch):
    monkeypatch.setattr(expansion, "IDLE_ROLLOUTS", 50)
    made = windvane(
        "search", unconditional, "--reward", "contrast", "--method", "dts", "--with", "exponent=0.05",
        "--with", "widening=1", "--steps", 5, "--out", tmp_path, "--budget", 2000,
    )  # fmt: skip
    assert made.exit_code == 0 and told(tmp_path)["done"], made.output
    (line,) = made.stderr.splitlines()
    assert line.startswith("windvane: the last ") and "take a larger exponent" in line


def test_a_budget_is_needed_and_must_pay(refused, unconditional, tmp_path):
    common = ["search", unconditional, "--reward", "brightness"]
    assert "how much?" in refused(*common, out=tmp_path / "out")
    for method in ("best-of", "dts", "fk"):
        line = refused(*common, out=tmp_path / method, budget=3, method=method)
        assert "a budget of 3 network rows does not pay" in line
        assert not (tmp_path / method).exists()


@pytest.mark.parametrize("method", ["dts", "best-of"])
def test_a_budget_that_guidance_proves_too_small_leaves_no_folder(refused, model, tmp_path, method):
    """That guidance asks twice shows in the first step."""
    line = refused(
        "search", model, "--reward", "brightness", "--cluster", 0, "--weight", 2, "--steps", 5,
        out=tmp_path / "out", budget=9, method=method,
    )  # fmt: skip
    assert "does not pay" in line and not (tmp_path / "out").exists()


def test_a_reward_that_fails_keeps_what_was_found(windvane, unconditional, tmp_path):
    (tmp_path / "mine.py").write_text(
        "seen = []\ndef moody(x):\n    seen.append(len(x))\n    if len(seen) > 3:\n"
        "        raise RuntimeError('tired')\n    return x.flatten(1).mean(1)\n"
    )
    common = [
        "search",
        unconditional,
        "--reward",
        f"{tmp_path}/mine.py:moody",
        "--steps",
        5,
        "--method",
        "dts",
    ]
    result = windvane(*common, "--out", tmp_path / "out", "--budget", 2000)
    assert result.exit_code == 2 and "the reward 'moody' raised RuntimeError: tired" in result.stderr
    before = told(tmp_path / "out")
    # The file is loaded afresh, and the tree goes on.
    more = ["--out", tmp_path / "out", "--resume", "--budget"]
    again = windvane(*common, *more, before["network_rows"] + 100)
    assert told(tmp_path / "out")["network_rows"] > before["network_rows"] and "changed" not in again.stderr
    # Mended, it goes on too, but not unnoticed.
    (tmp_path / "mine.py").write_text("def moody(x):\n    return x.flatten(1).mean(1)\n")
    again = windvane(*common, *more, before["network_rows"] + 200)
    assert again.exit_code == 0 and f"{tmp_path}/mine.py has changed since this search began" in again.stderr


def test_settings_have_the_types_of_their_defaults():
    assert settings_for("zero-order", ["neighbours=8", "cosine=0.9"])["neighbours"] == 8
