"""Whose file: the rules from a peer's names to ours, one module a peer."""
