"""Foreign files as the same manifest over the same source: a parser returns it and nothing else."""
