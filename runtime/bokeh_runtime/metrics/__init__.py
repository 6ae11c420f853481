"""How near two pictures are."""
