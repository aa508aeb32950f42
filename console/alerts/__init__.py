"""What the Alerts page, and the Overview of it, are made of."""
