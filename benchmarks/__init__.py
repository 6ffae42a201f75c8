"""Benchmarks: clipsearch beside rclip, or beside a limit of the machine, measured in one run.

Run from the project's folder: `python -m benchmarks.query`, and likewise `index`, `rescan`, `classify`,
`add` and `optimize`. See `benchmarks/README.md`.
"""
