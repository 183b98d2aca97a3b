"""Real servers for the tests, and two of our own: a static HTTP server and a recording proxy."""
