"""Pictures are written while the next batch is drawn, and nothing of that is lost or hidden."""

import errno
import threading

from windvane import samplers
from windvane.cli.common import sampling


def test_the_disk_is_waited_for_while_the_next_batch_is_drawn(windvane, model, monkeypatch, tmp_path):
    drawing, drawn, saved = threading.Event(), samplers.sample_batches, sampling.save_pngs

    def batches(*given, **named):
        for number, batch in enumerate(drawn(*given, **named)):
            if number:
                drawing.set()
            yield batch

    def save(made):
        assert drawing.wait(20), "the first batch is written before the second is drawn"
        saved(made)

    monkeypatch.setattr(samplers, "sample_batches", batches)
    monkeypatch.setattr(sampling, "save_pngs", save)
    result = windvane("sample", model, out=tmp_path / "out", n=5, steps=2, batch_size=2)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("0*.png"))) == 5


def test_a_picture_that_cannot_be_written_ends_the_command(refused, model, monkeypatch, tmp_path):
    saved, calls = sampling.save_pngs, []

    def save(made):
        calls.append(len(made))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(made[0][1]))
        saved(made)

    monkeypatch.setattr(sampling, "save_pngs", save)
    line = refused("sample", model, out=tmp_path / "out", n=8, steps=2, batch_size=2)
    assert "the disk is full" in line and "00000002.png" in line
    assert calls == [2, 2], "nothing is written after what failed"
    assert len(list((tmp_path / "out").glob("0*.png"))) == 2
