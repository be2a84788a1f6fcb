"""Leaf helpers and the trainer. Nothing here imports a sibling package, nor MindSpore before `runtime` has acted."""
