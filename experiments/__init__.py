"""What is run: the command `videossl`, and one script for each recipe or table."""
