"""The one place where the packages meet: train, validate, predict."""
