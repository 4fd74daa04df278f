"""Grey pictures on the command line: one channel, said in a line; what has three goes on with three."""

import pytest
import yaml

from windvane.annotate import load_annotation
from windvane.checkpoint import read_description
from windvane.data import digits, to_folder

TINY = ["model.type=mlp", "data.holdout=0", "annotate.stability=0", "train.sample_every=0", "train.warmup=1"]
TINY += ["train.batch_size=8", "train.checkpoint_every=2", "sample.n=4", "sample.steps=2", "data.limit=60"]
SETS = [word for text in TINY for word in ("--set", text)]
SAID = "all pictures are grey: one channel is kept"


@pytest.fixture
def grey(tmp_path):
    return to_folder(digits().subset(range(60)), tmp_path / "grey", labels=None, progress=False)


@pytest.fixture
def done(windvane):
    def call(*words, **options):
        result = windvane(*words, *SETS, **options)
        assert result.exit_code == 0, result.output
        return result.stderr

    return call


def unasked(folder):
    """Make the folder look like one of a version in which grey pictures had three channels unasked."""
    file = folder / "config.yaml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    tree["data"]["channels"] = None
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")


def test_grey_pictures_are_trained_with_one_channel_and_it_is_said(done, grey, tmp_path):
    assert SAID in done("train", grey, out=tmp_path / "run", steps=2)
    assert read_description(tmp_path / "run")["shape"] == [1, 8, 8]
    assert SAID not in done("train", grey, "--set", "data.channels=3", out=tmp_path / "three", steps=2)
    assert read_description(tmp_path / "three")["shape"] == [3, 8, 8]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_has_three_channels_goes_on_with_three(done, windvane, grey, tmp_path):
    run, labels = tmp_path / "run", tmp_path / "labels"
    done("annotate", grey, "--set", "data.channels=3", features="pixels", k=3, out=labels)
    assert load_annotation(labels).shape == (3, 8, 8)
    unasked(labels)
    done("train", grey, annotation=labels, out=run, steps=2)
    assert read_description(run)["shape"] == [3, 8, 8]
    unasked(run)
    result = windvane("train", "--resume", out=run, steps=4)
    assert result.exit_code == 0, result.output
    assert read_description(run)["shape"] == [3, 8, 8] and read_description(run)["step"] == 4
    done("sample", run, "--like", grey / "000000.png", out=tmp_path / "like")
    few = ["--set", "evaluate.allow_few=true", "--metric", "kid", "--features", "pixels"]
    done("evaluate", run, *few)
