"""Acme: a made-up company to develop, test and show Muster against; Google's side of it, on loopback."""
