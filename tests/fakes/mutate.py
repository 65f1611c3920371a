"""Damaged copies of a file's bytes, for readers that must not trust them."""


def mutated(whole, random):
    """Return the bytes with one to four pieces replaced by noise or by their own bytes."""
    raw = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(raw))
        start = random.randrange(len(raw))
        noise = random.randbytes(random.randint(0, 8))
        piece = random.choice([noise, raw[start : start + 8], b"\xff" * 8, b"\0" * 8])
        raw[at : at + random.randint(0, 8)] = piece
    return bytes(raw) or b"\0"
