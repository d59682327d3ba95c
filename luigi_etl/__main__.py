"""Run the command `luigi-etl` as `python -m luigi_etl`."""

from luigi_etl.command import main

main()
