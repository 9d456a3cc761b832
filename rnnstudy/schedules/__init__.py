"""How the learning rate changes while a network is trained; one file a schedule."""
