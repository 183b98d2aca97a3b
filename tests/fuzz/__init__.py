"""Hostile input: real files, mutated at random, must give the right data or one of our errors."""
