"""What all tables are registered in, and what several of them say.

Knows nothing about any table.
"""

import sqlalchemy as sa

METADATA = sa.MetaData()
JSON = sa.JSON(none_as_null=True)
JOB_STATES = "'queued', 'running', 'pausing', 'paused', 'succeeded', 'failed', 'cancelled'"
