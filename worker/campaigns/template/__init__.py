"""The text of a campaign: one for all as it stands, or a template that each row of the audience fills: {{ column }}.

A template may have columns, words, comparisons, {% if %} and a few filters. It may have no loop, assignment, arithmetic
or call. So it cannot run for long, make much or reach anything, whatever it says. Jinja's sandbox is a second wall. A
row whose value is empty is refused: a text with a hole is never sent.
"""

from worker.campaigns.template.faults import RowRefused, TemplateFault
from worker.campaigns.template.text import CompiledText, compile_text

__all__ = ["CompiledText", "RowRefused", "TemplateFault", "compile_text"]
