"""Every byte of every container: real files, the conformance corpus, and files made by hand."""
