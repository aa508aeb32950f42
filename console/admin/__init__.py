"""The parts of the Admin page, and of everybody's own account."""
