"""The demo: the whole product on one machine, with real tracks as live traffic."""
