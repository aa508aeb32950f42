"""Rollouts: how a staged version becomes the champion, step by step, each behind its gates."""
