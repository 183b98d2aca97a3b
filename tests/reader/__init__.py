"""Lazy files and tensors: what they give, and what giving it costs."""
