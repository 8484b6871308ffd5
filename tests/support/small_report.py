"""The experiments of a reproduction that tests read."""

# They include every kind of table and figure.
NAMES = (
    "000-gradients",
    "000-softmax",
    "001-init",
    "001-grid",
    "002-gradients",
    "003-one-cycle",
    "003-fine",
    "004-gradients",
    "004-final",
)
