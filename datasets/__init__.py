"""Files on disk become records."""
