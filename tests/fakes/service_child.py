"""A server like that of `stead serve`, with bounds that a test can fill: `python service_child.py STRATEGY BOUNDS`.

BOUNDS is JSON: fields of `serving.settings.Settings`. One line on stdout says where it listens.
"""

import asyncio
import json
import sys

from stead.app.accounts import Accounts
from stead.app.served import Books, served
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.serving.asgi import App
from stead.serving.settings import Settings
from stead.web import server


def main(strategy, bounds):
    home = Home.find()
    accounts = Accounts.open(home)
    books = Books(Metrics(), accounts.shared, accounts.ledger)
    found = served([], [strategy], home, books)
    app = App(
        found.backend, Settings(**json.loads(bounds)), access=accounts.door, metrics=books.metrics
    )
    bound = server.bind("127.0.0.1", 0)
    try:
        server.run(
            app,
            bound,
            on_ready=lambda: print(json.dumps({"url": server.url_of(bound)}), flush=True),
        )
    finally:
        bound.close()
        asyncio.run(accounts.close())


main(*sys.argv[1:])
