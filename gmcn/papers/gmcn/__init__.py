"""Gaussian Mixture Convolution Networks (ICLR 2022): figures 2, 3, 7, 8 and 9, and the least squares of its tables."""
