"""Writers: what they take, what appears, and what is left when they fail or die."""
