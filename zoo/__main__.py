"""The command `zoo`, also as `python -m zoo`. Ctrl-C ends it quietly while it is being imported, too."""

import sys


def main() -> None:
    """Runs the command line and exits."""
    try:
        from zoo.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # as zoo.cli.shell.INTERRUPTED


if __name__ == "__main__":
    main()
