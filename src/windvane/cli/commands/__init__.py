"""The commands, one file each, in the order in which a user needs them."""

from windvane.cli.commands.annotate import annotate
from windvane.cli.commands.compare_solvers import compare_solvers
from windvane.cli.commands.demo import demo
from windvane.cli.commands.doctor import doctor
from windvane.cli.commands.evaluate import evaluate
from windvane.cli.commands.papers import papers
from windvane.cli.commands.report import report
from windvane.cli.commands.sample import sample
from windvane.cli.commands.search import search
from windvane.cli.commands.settings import settings
from windvane.cli.commands.steer import steer
from windvane.cli.commands.stitch import stitch
from windvane.cli.commands.train import train

COMMANDS = (
    demo,
    annotate,
    train,
    sample,
    steer,
    search,
    compare_solvers,
    stitch,
    evaluate,
    report,
    settings,
    papers,
    doctor,
)
