"""How a dataset comes in from addresses that a stranger named."""
