"""Examples, the training loop, schedules and checkpoints."""
