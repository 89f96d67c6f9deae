"""`python -m pipelines.cli` is `glioflow`."""

from pipelines.cli import main

main()
