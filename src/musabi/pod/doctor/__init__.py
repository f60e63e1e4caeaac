"""The doctor: looks at a machine, and says what is wrong before a GPU is paid for it."""
