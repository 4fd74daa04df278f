"""Retrieval: does a row find its own among candidates?"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from windvane.data import ImageData
from windvane.text.encoder import TextImageEncoder
from windvane.text.sentences import describe

TOPS = (1, 5, 10, 20)


def top_k(rows: Tensor, candidates: Tensor, own: Tensor, ks: Sequence[int] = TOPS) -> dict[int, float]:
    """The share of rows ``(n, D)`` whose own candidate is among the k most similar (cosine) of ``(m, D)``.

    Args:
        own: ``(n,)``: which candidate is the row's own; or bool ``(n, m)``: which ones are, the best of
            which counts. Ties are counted against the row.
    """
    return ranked(F.normalize(rows.double(), dim=1) @ F.normalize(candidates.double(), dim=1).T, own, ks)


def ranked(similar: Tensor, own: Tensor, ks: Sequence[int] = TOPS) -> dict[int, float]:
    """:func:`top_k` of similarities ``(n, m)`` of any kind, larger is more similar."""
    right = F.one_hot(own, similar.shape[1]).bool() if own.dtype != torch.bool else own
    if right.shape != similar.shape:
        raise ValueError(f"{tuple(similar.shape)} similarities, but own ones are given as {tuple(own.shape)}")
    best = similar.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    rank = ((similar >= best) & ~right).sum(1)
    return {k: float((rank < k).double().mean()) for k in ks}


def text_retrieval(encoder: TextImageEncoder, data: ImageData, ks: Sequence[int] = TOPS) -> dict[int, float]:
    """How often a sentence that is true of an image is among its k nearest of all candidate sentences.

    The candidates are a sentence for each label, alone and with each adjective. One that is true of the image
    counts as its own, so that several may; :func:`chance` is the share that guessing would reach.
    """
    told = describe(data)
    sentences, mentioned = told.candidates()
    with torch.no_grad():
        rows, others = encoder.image(data.batch(slice(None))), encoder.text(sentences)
    return top_k(rows, others, told.true_of(mentioned).T, ks)


def chance(data: ImageData, ks: Sequence[int] = TOPS) -> dict[int, float]:
    """:func:`text_retrieval` by guessing: 1 - (m - r choose k) / (m choose k), r of m sentences true."""
    told = describe(data)
    true = told.true_of(told.candidates()[1]).T
    m, right = true.shape[1], true.sum(1).double()
    found = {}
    for k in ks:
        missed = torch.ones_like(right)
        for drawn in range(min(k, m)):
            missed *= ((m - right - drawn) / (m - drawn)).clamp(min=0)
        found[k] = float((1 - missed).mean())
    return found
