"""Generation of point clouds: how likely a cloud is under what a network makes of a part of it, and new clouds."""
