"""What a robot does to a thing on a table: one task a file, each a gymnasium environment."""
