"""The configuration: what wins, what is refused, and in which words."""

import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from windvane.cli.common.config import Config, check, make_config, merged, parse_setting, put, write_yaml
from windvane.registry import find, known_names

#: Whole numbers that once had no upper end: a seed lost its high bits, a count its loop, without a word.
WHOLE = [
    "train.steps",
    "train.seed",
    "data.seed",
    "annotate.seed",
    "annotate.stability",
    "evaluate.seed",
    "evaluate.bootstrap",
    "evaluate.n",
    "sample.n",
]


def test_later_sources_win(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("preset: digits\ntrain:\n  steps: 11\n  batch_size: 12\n  warmup: 13\n", encoding="utf-8")
    config = make_config(
        file=file,
        flags={"train.batch_size": 22, "train.warmup": 23, "train.seed": None},
        settings=["train.warmup=33"],
    )
    assert (config.train.steps, config.train.batch_size, config.train.warmup) == (11, 22, 33)
    assert config.train.learning_rate == find("preset", "digits").make()["train"]["learning_rate"]
    assert config.train.seed == Config().train.seed
    assert make_config(file=file, preset="small32").preset == "small32"


def test_dropout_is_one_share_or_one_for_each_signal(tmp_path):
    each = make_config(settings=["train.dropout={vector: 0.05, layout: 0.1}", "train.dropout.*=0.2"])
    assert each.train.dropout == {"vector": 0.05, "layout": 0.1, "*": 0.2}
    (tmp_path / "c.yaml").write_text(write_yaml(each), encoding="utf-8")
    assert make_config(file=tmp_path / "c.yaml") == each
    assert make_config(settings=["train.dropout=0.2"]).train.dropout == 0.2


@pytest.mark.parametrize("name", known_names("preset"))
def test_every_preset_is_valid_and_survives_its_own_file(name, tmp_path):
    config = make_config(preset=name, settings=["sample.interval=[0.5, .inf]"])
    file = tmp_path / "config.yaml"
    file.write_text(write_yaml(config), encoding="utf-8")
    assert make_config(file=file) == config


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.step=3", ["train.step", "did you mean 'steps'", "learning_rate"]),
        ("trian.steps=3", ["trian", "did you mean 'train'", "sample"]),
        ("train.steps=soon", ["train.steps", "'soon'"]),
        ("train.steps=0", ["train.steps", "greater than or equal to 1", "got 0"]),
        ("train.dropout=2", ["train.dropout should be less than or equal to 1, got 2"]),
        ("train.dropout={vector: 2}", ["train.dropout", "less than or equal to 1, got 2"]),
        ("train=3", ["train", "section", "steps"]),
        ("model.channels=[64, x]", ["model.channels.1", "'x'"]),
        ("model.type=cnn", ["model.type", "'unet'", "'cnn'"]),
        ("train.learning_rate=.nan", ["train.learning_rate", "finite"]),
        ("sample.interval=[3, 1]", ["sample", "low < high", "[3.0, 1.0]"]),
        *((f"{name}=1{'0' * 22}", [name, "below 2**63"]) for name in WHOLE),
        (f"model.channels=[32, 1{'0' * 22}]", ["model.channels", "below 2**63"]),
        ("model.depth=1001", ["model.depth", "less than or equal to 1000"]),
        ("model.layers=1001", ["model.layers", "less than or equal to 1000"]),
        ("preset=huge", ["preset", "'huge'", "digits"]),
        ("train.steps", ["--set", "'train.steps'", "section.name=value"]),
        (".steps=3", ["--set", "'.steps=3'"]),
        ("train.steps=[1", ["train.steps", "not YAML"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_path(setting, words):
    with pytest.raises(ValueError) as caught:
        make_config(settings=[setting])
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and "pydantic" not in message


def test_several_mistakes_are_named_together():
    with pytest.raises(ValueError, match=r"train\.stepz.*sample\.weihgt"):
        check({"train": {"stepz": 1}, "sample": {"weihgt": 2}})
    with pytest.raises(ValueError, match="and 2 more"):
        check({"train": dict.fromkeys("abcde", 1)})


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"train: [", "not YAML"), (b"- 1\n", "sections"), (b"\xff\xfe\x00", "UTF-8"), (None, "not found")],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, content, words):
    file = tmp_path / "run.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        make_config(file=file)
    assert str(file) in str(caught.value)


def test_an_empty_file_and_an_empty_section_mean_defaults(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("", encoding="utf-8")
    assert make_config(file=file) == Config()
    file.write_text("train:\n", encoding="utf-8")
    assert make_config(file=file) == Config()


NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@given(path=st.lists(NAMES, min_size=1, max_size=4), value=VALUES)
def test_set_reads_back_any_value_that_yaml_writes(path, value):
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    assert parse_setting(f"{'.'.join(path)}={text}") == (path, value)


@given(
    tree=st.dictionaries(NAMES, VALUES, max_size=3),
    path=st.lists(NAMES, min_size=1, max_size=3),
    value=VALUES,
)
def test_put_changes_what_it_names(tree, path, value):
    put(tree, list(path), value)
    for part in path:
        tree = tree[part]
    assert tree == value


@given(base=st.dictionaries(NAMES, VALUES, max_size=4), top=st.dictionaries(NAMES, VALUES, max_size=4))
def test_merging_keeps_all_of_the_top_and_no_more(base, top):
    both = merged(base, top)
    assert set(both) == set(base) | set(top)
    assert merged(both, top) == both
    assert merged({}, top) == top and merged(base, {}) == base


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.objective=nope", r"train\.objective should be 'denoising', got 'nope'"),
        (
            "train.objective_options.delta=1",
            "objective_options are those of another objective than denoising",
        ),
        ("train.corruption_options.share=1", "corruption_options are those of another corruption than"),
    ],
)
def test_a_loss_that_there_is_not_and_options_that_change_nothing(setting, message):
    with pytest.raises(ValueError, match=message):
        make_config(settings=[setting])
