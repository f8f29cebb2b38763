"""The robot: where it clicks, what it does next, and the session it works with."""
