"""The relocatable Python environment for the nodes."""
