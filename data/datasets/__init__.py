"""Tracks on disk and generated: readers, the embedded match, the crowd."""
