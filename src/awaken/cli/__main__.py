"""`python -m awaken.cli`, for whoever has the interpreter and not the script."""

from awaken.cli.app import main

main()
