"""A page and a JSON endpoint for one model, on this machine: `mindcv-halo serve` (extra `serve`)."""
