"""The commands, one file each, in the order in which a user needs them."""

from windvane.cli.commands.demo import demo
from windvane.cli.commands.doctor import doctor
from windvane.cli.commands.papers import papers

COMMANDS = (demo, papers, doctor)
