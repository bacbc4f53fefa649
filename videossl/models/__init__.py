"""Trunks: the networks that are kept in the end, one family a file."""
