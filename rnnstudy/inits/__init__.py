"""How the weights of a recurrent network start; one file an initialisation."""
