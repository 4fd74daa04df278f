"""`python -m windvane`, which is what `accelerate launch -m windvane` needs."""

from windvane.cli import main

if __name__ == "__main__":
    main()
