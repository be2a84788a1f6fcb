"""MindSpore's own Ascend and GPU backends on a machine that has neither: what they make of every graph."""
