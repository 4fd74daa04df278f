"""The main job: fair arms, the table's numbers, and a short run of everything."""

import json

import pytest
import torch
from typer.testing import CliRunner

from windvane.cli import app
from windvane.cli.common.datasets import open_parts
from windvane.cli.common.models import run_data
from windvane.cli.common.sections import DataSection
from windvane.data import digits, train_and_held_out
from windvane.judges import train_judge
from windvane.metrics import Interval
from windvane.pictures import image_grid, save_png
from windvane.tasks.self_guided import Budget, Row, Variant, Yardstick, demo, fit, format_rows, generate
from windvane.tasks.self_guided.experiment import digit_denoiser


def test_ids_are_dealt_in_the_training_sets_own_shares():
    ids = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    variant = Variant("self-labels", ids, 3)
    for seed in range(3):
        assert torch.bincount(variant.draw(20, seed)).tolist() == [10, 6, 4]
    assert not torch.equal(variant.draw(20, 0), variant.draw(20, 1))
    assert Variant("none").draw(20, 0) is None


def test_arms_begin_from_the_same_weights_where_they_have_the_same_layers():
    one, two = digit_denoiser(0, 3), digit_denoiser(0, 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    other = digit_denoiser(0, 4)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))


def test_yardstick_tells_real_images_from_noise():
    train, held_out = train_and_held_out(digits(), seed=0)
    judge = train_judge(train, test=(held_out, held_out.labels), steps=60, seed=0, progress=False)
    yardstick = Yardstick(judge, train, held_out)
    real, noise = yardstick.real(), yardstick.measure(torch.rand(300, 1, 8, 8) * 2 - 1)
    assert real["frechet"] < 0.3 * noise["frechet"]
    assert real["precision"] > noise["precision"]
    copies = yardstick.measure(train.batch(slice(0, 300)))
    assert copies["nearest"] == pytest.approx(0, abs=1e-5)
    assert real["nearest"] > 1


def test_the_same_seed_gives_the_same_training_and_samples():
    train, _ = train_and_held_out(digits(), seed=0)
    budget = Budget(steps=3, batch_size=16)
    variant = Variant("true labels", train.labels, 10)
    first, second = (fit(variant, train, budget, seed=1, progress=False) for _ in range(2))
    a, b = (generate(net, variant, n=4, seed=0, weight=1.5, steps=3)[0] for net in (first, second))
    assert torch.equal(a, b)


def test_the_table_shows_every_value_with_its_interval():
    values = {q: Interval(1.5, 1.25, 1.75) for q in ("frechet", "precision", "recall", "nearest")}
    text = format_rows([Row("none", 1.0, values, 3)], dict.fromkeys(values, 0.5))
    assert "1.50 ± 0.25" in text
    assert "real training images" in text


@pytest.mark.parametrize("place", ["annotation", "runs/none/model"])
def test_the_demo_replaces_no_folder_of_the_users(place, tmp_path):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds mine\.txt"):
        demo(tmp_path, quick=True, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [place.split("/")[0]]
    assert (tmp_path / place / "mine.txt").read_text() == "mine"


def test_quick_demo_writes_everything(tmp_path, capsys):
    demo(tmp_path, quick=True, progress=False)
    out = capsys.readouterr().out
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {row["name"] for row in rows} == {"none", "self-labels", "true labels", "random ids"}
    assert [row["weight"] for row in rows if row["name"] == "self-labels"] == [0.0, 1.0, 1.5, 2.0, 3.0]
    assert all(row["name"] in out for row in rows)
    page = (tmp_path / "report.html").read_text()
    assert "Cluster 0" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert (tmp_path / "demo.png").stat().st_size > 1000
    # Other commands find the images of its runs again.
    told = DataSection(**run_data(tmp_path / "runs" / "none"))
    parts, ours = open_parts(told, quiet=True), train_and_held_out(digits(), seed=0)
    assert parts.train.fingerprint == ours[0].fingerprint
    assert parts.held_out.fingerprint == ours[1].fingerprint
    check_next_commands(tmp_path)


def check_next_commands(demo_folder):
    """The README's next commands go on from the demo's runs as from any other."""

    def call(*words):
        found = CliRunner().invoke(app, [str(word) for word in words])
        assert found.exit_code == 0, found.output
        return found.output

    run, out = demo_folder / "runs" / "self-labels", demo_folder / "more"
    few = ("--set", "evaluate.bootstrap=0", "--set", "evaluate.allow_few=true")
    assert "cluster_agreement" in call("evaluate", run, "--n", 30, *few)
    assert "frechet" not in call("report", run)
    digit = out / "digit.png"
    save_png(image_grid(digits()[:1], columns=1, scale=1, gap=0), digit)
    assert "4 pictures" in call("sample", run, "--like", digit, "--n", 4, "--steps", 3, "--out", out / "like")
    small, large = demo_folder / "runs" / "none", demo_folder / "runs" / "random-ids"
    stitch = ("--n", 70, "--steps", 2, "--out", out / "stitched", "--set", "evaluate.allow_few=true")
    call("stitch", run, large, *stitch)
    assert call("sample", small, "--n", 2, "--steps", 2, "--out", out / "plain")
