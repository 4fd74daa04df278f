"""The commands, one file each, in the order in which a user needs them."""

from windvane.cli.annotate.command import annotate
from windvane.cli.compare_solvers.command import compare_solvers
from windvane.cli.demo.command import demo
from windvane.cli.doctor.command import doctor
from windvane.cli.evaluate.command import evaluate
from windvane.cli.papers.command import papers
from windvane.cli.report.command import report
from windvane.cli.sample.command import sample
from windvane.cli.search.command import search
from windvane.cli.settings.command import settings
from windvane.cli.steer.command import steer
from windvane.cli.stitch.command import stitch
from windvane.cli.train.command import train

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
