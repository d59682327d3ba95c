"""Run the command `luigi-etl` as `python -m luigi_etl`."""

from luigi_etl.cli.main import main

main()
