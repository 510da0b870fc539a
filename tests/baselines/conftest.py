import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where these tests keep what they share
