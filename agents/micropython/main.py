# Starts the agent when the board starts.
from mh import decide

decide.boot()
del decide

import sys

del sys.modules["mh.decide"]

from mh import agent

agent.start()
