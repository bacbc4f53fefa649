"""How fast it is: each bench prints a table and writes JSON."""
