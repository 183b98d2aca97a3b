"""Writing tensors to a bucket, measured beside other ways to do it."""
