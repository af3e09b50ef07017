"""A probability density of objects, which finds those that are unlike the ones trained on."""
