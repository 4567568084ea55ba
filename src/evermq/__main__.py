"""`python -m evermq` is the command `evermq`."""

from evermq.daemon.cli import main

if __name__ == "__main__":
    main()
