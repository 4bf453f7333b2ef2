"""An evaluation as a page."""

from proctor.evaluation.columns import COLUMNS, EXPLAINED, judging, number, queue, share
from proctor.evaluation.figure import plots
from proctor.evaluation.summary import Evaluation
from proctor.offline.html import library, script, templates

_templates = templates("proctor.evaluation")
_templates.filters |= {"number": number, "share": share, "queue": queue, "judging": judging}


def page(evaluation: Evaluation) -> str:
    """Return the page. The same evaluation is the same page."""
    drawn = list(plots(evaluation))
    return _templates.get_template("evaluation.html").render(
        evaluation=evaluation,
        columns=COLUMNS,
        explained=EXPLAINED,
        plots=drawn,
        figures=script({plot.name: plot.figure for plot in drawn}),
        plotly=library(),
    )
