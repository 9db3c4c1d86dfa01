"""The scripts need packages that the tests do not; the tests read the .npz files alone."""

collect_ignore_glob = ["*_figures.py"]
