"""Draws mixtures, clouds, meshes, images, fits, networks and curves: still pictures, and pages to turn them on."""
