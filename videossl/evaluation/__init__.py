"""What a trunk has learned: protocols, each a function of a trunk and records."""
