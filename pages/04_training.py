"""y

text
"""
from lib.ui import frame
controls = frame.begin(__doc__)
