"""What several tests need: ways to compute, peers, an oracle, and files of all kinds."""
