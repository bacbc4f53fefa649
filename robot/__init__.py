"""Simulated worlds: PyBullet is touched here and nowhere else."""
