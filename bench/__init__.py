"""Measurements that take longer than a test should; each prints what it did and the figures."""
