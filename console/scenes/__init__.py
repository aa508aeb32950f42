"""What the Scene map page is made of."""
