"""Policies made in dreams: heads for reward and end, learners, and what they gain in the dream beside reality."""
