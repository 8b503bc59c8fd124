"""The former name of the Python client, for one release: import `leo_client` instead."""

from leo_client import *  # noqa: F403
