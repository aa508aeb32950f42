"""What the Services page, and the Overview of it, are made of."""
