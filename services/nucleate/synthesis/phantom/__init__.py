"""Tissue drawn from nothing, with its exact instance maps, for the demo and for tests."""
