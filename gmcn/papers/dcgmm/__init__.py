"""Deep convolutional Gaussian mixture models (2021, anonymous): the paper's figures by name, from results."""
