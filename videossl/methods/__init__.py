"""Pretext methods: each file holds one question asked of a record and the network that answers it."""
