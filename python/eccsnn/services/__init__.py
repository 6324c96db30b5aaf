"""Processes made of the parts below: the cloud server, the edge agents (whole images, or timesteps of
a split network), and both over a measured link."""
