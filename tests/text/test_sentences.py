"""Sentences are true of the images they are made for, and measured traits are what they say."""

import pytest
import torch

from windvane.data import ImageData, digits
from windvane.text import Described, UnknownWords, Vocabulary, describe, from_captions, known_words
from windvane.text.sentences import ink_and_slant, thirds
from windvane.text.training import vocabulary_of


@pytest.fixture(scope="module")
def told():
    return describe(digits().subset(torch.arange(300)))


def line(dx):
    """A line 8 rows high whose column moves by dx a row downwards, (1, 16, 16)."""
    image = torch.full((1, 16, 16), -1.0)
    for row in range(8):
        image[0, 4 + row, round(8 + dx * (row - 3.5))] = 1
    return image


def test_ink_and_slant_of_lines():
    upright, right, left = line(0), line(-1), line(1)
    ink, slant = ink_and_slant(torch.stack([upright, right, left]))
    assert torch.allclose(ink, torch.full((3,), 8 / 256, dtype=torch.float64))
    assert slant.tolist() == pytest.approx([0, 1, -1], abs=0.05)


def test_thirds_are_taken_within_groups():
    values = torch.tensor([1.0, 2, 3, 101, 102, 103])
    assert thirds(values, torch.tensor([0, 0, 0, 1, 1, 1])).tolist() == [0, -1, 1, 0, -1, 1]


def test_a_sentence_is_true_of_the_image_it_is_made_for(told):
    index = torch.arange(300)
    sentences, mentioned = told.draw(index, torch.Generator().manual_seed(0))
    true = told.true_of(mentioned, told.facts[index])
    assert bool(true.diagonal().all())
    assert 0.02 < float(true.double().mean()) < 0.5
    assert len(set(sentences)) > 150
    # What is mentioned can be read out of the sentence again.
    assert [told.understood(sentence) for sentence in sentences] == mentioned.tolist()


def test_candidates_say_different_things_and_each_is_true_of_something(told):
    sentences, mentioned = told.candidates()
    assert len(sentences) == len(set(sentences)) == 50
    assert bool(told.true_of(mentioned).any(1).all())
    assert "a bold seven" in sentences


def test_other_labels_and_captions():
    images = torch.rand(12, 3, 8, 8).numpy() * 2 - 1
    data = ImageData(images, labels=[0, 1] * 6, label_names=["red fox", "barn"])
    told = describe(data)
    assert {told.say([0, -1]), told.say([1, 0])} == {"a red fox", "a dark barn"}
    assert told.understood("a bright red fox") == [0, 1]
    with pytest.raises(ValueError, match="no labels"):
        describe(ImageData(images))
    spoken = from_captions(["a cat", "a dog", "a cat"])
    drawn, mentioned = spoken.draw(torch.tensor([2, 1]), torch.Generator())
    assert drawn == ["a cat", "a dog"]
    assert spoken.true_of(mentioned).tolist() == [[True, False, True], [False, True, False]]


def test_unknown_words_are_named_with_the_nearest_known_one(told):
    words = vocabulary_of(told)
    with pytest.warns(UnknownWords, match="does not know 'purple'.*it knows: zero"):
        places, begins = words.bag(["a purple seven", "7"])
    assert places.tolist() == [words._place["a"], words._place["seven"], words._place["7"]]
    assert begins.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"'a sevn' says nothing.*did you mean 'seven'.*it knows: zero"):
        words.bag(["a sevn"])
    with pytest.raises(ValueError, match="'a handwritten' says nothing"):
        words.bag(["a handwritten"])


def test_filling_words_do_not_count_as_telling():
    words = Vocabulary(["one"], ["one", "a", "a"])
    assert (words.telling, words.filling, len(words)) == (["one"], ["a"], 2)


def test_described_rows_are_those_asked_for(told):
    part = told.rows(torch.tensor([5, 3]))
    assert isinstance(part, Described)
    assert torch.equal(part.facts, told.facts[[5, 3]])


def test_labels_of_equal_words_are_one_noun_and_names_without_letters_say_nothing():
    images = torch.rand(12, 1, 8, 8).numpy() * 2 - 1
    names = ["Crane (bird)", "crane: bird", "++", "barn"]
    told = describe(ImageData(images, labels=[0, 1, 2, 3] * 3, label_names=names))
    assert told.words[0] == (("crane bird",), ("barn",))
    assert told.facts[:4, 0].tolist() == [0, 0, -1, 1]


def test_it_is_said_which_words_are_known_and_why():
    images = torch.rand(12, 1, 8, 8).numpy() * 2 - 1
    bare = ImageData(images, labels=[0, 1, 2] * 4)
    assert known_words(describe(bare)) == (
        "0, 1, 2, dark, bright: numbers of 3 classes, and how bright the pixels are"
    )
    named = ImageData(images, labels=[0, 1, 2] * 4, label_names=["shirt", "bag", "boot"])
    named.names_from = "the list garments.txt"
    assert known_words(describe(named), most=2) == (
        "shirt, bag and 3 more: names of 3 classes from the list garments.txt, and how bright the pixels are"
    )
    assert known_words(describe(digits().subset(torch.arange(40))), most=3) == (
        "zero, 0, one and 28 more: number words and numerals of the embedded digits, and how their strokes "
        "measure"
    )
    assert known_words(from_captions(["a cat"])) == "a, cat: the captions"
