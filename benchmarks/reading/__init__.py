"""Reading tensors from a bucket, measured beside other ways to do it."""
