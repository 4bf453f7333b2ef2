"""Proofs under fire: a server whose peers, stores and own process fail, and a judge of what it kept."""
