"""What a run's folder holds, and who writes it."""
