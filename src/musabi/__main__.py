"""`python -m musabi` is the same program as `musabi`."""

from musabi.cli import main

main()
