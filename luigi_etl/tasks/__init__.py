"""Luigi tasks, their parameters, and the sections of luigi.cfg."""
