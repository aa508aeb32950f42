"""Adapters for identity: password hashes, signed tokens and the secret that signs them."""
