"""``python -m deepbelief`` is ``deepbelief``."""

from deepbelief.cli.main import main

if __name__ == "__main__":
    main()
