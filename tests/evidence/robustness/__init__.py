"""Malformed files and killed processes: the outcome of each is counted.

    python -m tests.evidence.robustness [--inputs 10000] [--kills 50]

Every reader of the library (readers.py) receives valid files that were mutated or truncated (mutated_files.py), and
malicious files (malicious_files.py). Each must either return data or raise the library's error. It must write only to
its own folder, run no code (side_effects.py), and stay within its memory limit (fuzzing.py). Processes that train are
killed at random moments, and resumed (killed_runs.py).
"""
