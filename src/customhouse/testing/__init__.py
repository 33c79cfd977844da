"""Fakes, hypothesis strategies and contract suites for other people's adapters. Imports core and _kit only."""
