"""`python -m pylae` is the `pylae` command."""

from pylae.cli import main

if __name__ == "__main__":
    main()
