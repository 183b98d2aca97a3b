"""The tests; a package, so that no other installed ``tests`` can take its name."""
