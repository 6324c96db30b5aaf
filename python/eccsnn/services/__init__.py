"""Processes made of the parts below: the cloud server, the edge agent, and both over a measured link."""
