"""Benchmarks of convpool against other libraries; see README.md in this folder."""
