"""The files of one run: extraction, parsing, storage, clean-up."""
