"""Which container: arrays and notes out of a file, within limits, whoever wrote it."""
