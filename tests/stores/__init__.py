"""Every place that holds bytes, through one contract and in its own ways."""
