"""Gaussian mixture layers (after Chewi, Rigollet and Yan, 2025; the equations are ours): figures by name."""
