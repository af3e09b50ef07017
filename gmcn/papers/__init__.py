"""Figures and special measurements of one paper alone, in one package per paper."""
