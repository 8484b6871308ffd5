"""All models, in the order of the table."""

from __future__ import annotations

from benchmarks.models import (
    character_rnn,
    deep_batch_norm,
    gpt,
    image_batch_norm,
    long_rnn,
    lstm,
    many_parts,
    max_pooling,
    pendulum,
    second_derivatives,
    user_loop,
)

MODELS = (
    user_loop.MODEL,
    deep_batch_norm.MODEL,
    image_batch_norm.MODEL,
    max_pooling.MODEL,
    character_rnn.ONE_TEXT,
    character_rnn.MANY_TEXTS,
    long_rnn.MODEL,
    lstm.MODEL,
    gpt.MODEL,
    pendulum.MODEL,
    *many_parts.MODELS,
    *second_derivatives.MODELS,
)
