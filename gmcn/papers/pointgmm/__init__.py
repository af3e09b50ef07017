"""Figures of PointGMM (Hertz et al., 2020)."""
