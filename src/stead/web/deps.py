"""What routes ask for by `Depends`: the platform, and who is asking.

Knows nothing about either.
"""

from typing import Annotated, cast

from fastapi import Depends, Request

from stead.app.identity import Who
from stead.app.platform import Platform


def _platform(request: Request) -> Platform:
    return cast(Platform, request.app.state.platform)  # an attribute bag of the framework


def _who(request: Request) -> Who:
    return cast(Who, request.state.who)  # set by `web/guard`; never None on guarded routes


Here = Annotated[Platform, Depends(_platform)]
Asking = Annotated[Who, Depends(_who)]
