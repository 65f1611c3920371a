"""Numbers of a run as people read them, the same on a terminal and on a page.

Knows nothing about where they are shown. Light.
"""


def loss(value: float) -> str:
    """Return a loss; one near 0, as of rewards, is no -0.0000."""
    return f"{value:.4f}" if value == 0 or abs(value) >= 5e-5 else f"{value:.1e}"


def share(value: float) -> str:
    """Return a share in percent; a tiny model's is no 0."""
    return f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"
