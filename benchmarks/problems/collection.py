"""All problems, the simplest first."""

from __future__ import annotations

from benchmarks.problems import ba, det, gmm, hello, ht, kmeans, llsq, lse, lstm, ode, particle, saddle

PROBLEMS = tuple(module.PROBLEM for module in (hello, lse, llsq, det, kmeans, gmm, ba, ht, lstm, ode, saddle, particle))
