"""Mutants that change nothing a user of the module can observe, except its speed, each with the reason.

They are judged by hand, one by one. The keys are the identities that ``python -m tests.evidence.mutants`` prints.
"""

# One identity per line, as it is printed.
# ruff: noqa: E501

EQUIVALENT: dict[str, str] = {
    "course/evaluation: `10000` to `10001` in `_BLOCK_SIZE = 10_000  # images evaluated together; it bounds the memory of an evaluation`": "the size of a block changes the memory only",
    "data/augmentation:augment_flip: `make_generator('augment_flip', rng).random(len(pixels)) < 0.5` to `make_generator('augment_flip', rng).random(len(pixels)) <= 0.5` in `flipped = make_generator(\"augment_flip\", rng).random(len(pixels)) < 0.5  # noqa: PLR2004`": "a number equals 0.5 with a probability of 2**-53",
    "data/cifar10:_read_binary_batch: `1` to `2` in `records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)`": "NumPy takes any negative length as the unknown one",
    "data/cifar10:read_cifar10: `True` to `False` in `for name, batch in zip(version.batches, batches, strict=True):`": "the two always have the same length",
    "data/fetch:_Download.discard: `True` to `False` in `self.part.unlink(missing_ok=True)`": "there is a file whenever it is called",
    "data/preprocess:_directions: `False` to `True` in `_, spread, rows = np.linalg.svd((count * images.astype(np.int64) - sums) / MAX_PIXEL, full_matrices=False)`": "the further rows are not used",
    "engine/tracing: `2` to `3` in `_NAN, _INFINITE, _FINITE = 2, 1, 0`": "only the order of the severities matters",
    "engine/tracing:_NonFiniteWatcher.__init__: `self.vjp: VJP | None = None` to `pass` in `self.vjp: VJP | None = None`": "the VJP is read only if there is a node, and both are set together",
    "engine/tracing:_NonFiniteWatcher.on_accumulate: `0` to `1` in `if total is terms[0]:`": "a sum that is its first term has its severity",
    "engine/tracing:_is_finite: `0` to `1` in `return bool(total - total == 0) or bool(np.isfinite(x).all())`": "then every element is checked, which is slower",
    "engine/tracing:_is_finite: `total - total` to `total + total` in `return bool(total - total == 0) or bool(np.isfinite(x).all())`": "unless the sum is 0, every element is checked, which is slower",
    "experiments/jobs: `1` to `2` in `_dataset = lru_cache(maxsize=1)(load_dataset)`": "a larger cache changes the memory only",
    "nn/functional:cross_entropy: `0.0` to `1.0` in `return ops.sum(ops.multiply(ops.where(p > 0, log_p, 0.0), p)) / -batch  # 0 * log(0) is 0`": "the value is multiplied by 0",
    "nn/functional:cross_entropy: `False` to `True` in `p = rows.astype(log_p.dtype, copy=False)  # so that float64 rows do not promote a float32 loss`": "a copy has the same values",
    "nn/optim/base:blocks: `1` to `2` in `flat = [w.reshape(-1), *[np.ascontiguousarray(other).reshape(-1) for other in others]]`": "NumPy takes any negative length as the unknown one",
    "nn/optim/base:blocks: `_BLOCK_BYTES // w.itemsize` to `_BLOCK_BYTES * w.itemsize` in `size = _BLOCK_BYTES // w.itemsize`": "the size of the blocks changes the speed only",
    "nn/schedules:Triangular.__call__: `position <= half` to `position < half` in `height = position if position <= half else 2 * half - position`": "at the peak both heights are half a cycle",
    "search/objective: `1` to `2` in `_dataset = lru_cache(maxsize=1)(load_dataset)`": "a larger cache changes the memory only",
    "system/checkpoints:_arrays: `sum((entry.file_size for entry in entries)) > len(content)` to `sum((entry.file_size for entry in entries)) >= len(content)` in `if sum(entry.file_size for entry in entries) > len(content):`": "an archive is larger than its entries",
    "system/checkpoints:save_checkpoint: `False` to `True` in `np.lib.format.write_array(part, array, allow_pickle=False)`": "arrays of objects have been refused before",
    "system/files:_umask: `0` to `1` in `mask = os.umask(0)`": "the mask is restored at once",
    "system/locks:_acquire: `folder / '.lock'` to `folder * '.lock'` in `return os.open(folder / \".lock\", os.O_CREAT | os.O_EXCL | os.O_TEMPORARY)`": "the line runs on Windows only",
    'system/locks:_acquire: `os.O_CREAT | os.O_EXCL | os.O_TEMPORARY` to `(os.O_CREAT | os.O_EXCL) & os.O_TEMPORARY` in `return os.open(folder / ".lock", os.O_CREAT | os.O_EXCL | os.O_TEMPORARY)`': "the line runs on Windows only",
    'system/locks:_acquire: `os.O_CREAT | os.O_EXCL` to `os.O_CREAT & os.O_EXCL` in `return os.open(folder / ".lock", os.O_CREAT | os.O_EXCL | os.O_TEMPORARY)`': "the line runs on Windows only",
    "system/locks:_acquire: `return os.open(folder / '.lock', os.O_CREAT | os.O_EXCL | os.O_TEMPORARY)` to `return None` in `return os.open(folder / \".lock\", os.O_CREAT | os.O_EXCL | os.O_TEMPORARY)`": "the line runs on Windows only",
    "system/processes:ProcessExecutor.__init__: `0` to `1` in `self._pending = [0] * self.workers`": "only the order of the numbers of pending calls matters",
    "system/processes:_exit_with_parent.wait_for_parent: `1` to `2` in `os._exit(1)`": "the parent, which could read the status, has ended",
}
