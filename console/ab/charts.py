"""Figures of the A/B tests page. No Streamlit here."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from console.ab.words import METRICS, arm_letter, arm_words, level_words
from console.drawing import DASHES, SYMBOLS, at_least_a_minute, finished, naive_utc, pick, rgba, thin, time_axis
from console.palette import Palette
from trajops.contracts.experiments import EffectOut, ExperimentPlan, VerdictOut

LEAST_REACH = 0.05
MOST_REACH = 1.0


def effect_over_time(plan: ExperimentPlan, verdicts: Sequence[VerdictOut], palette: Palette) -> go.Figure:
    """Relative change of the metric in per cent, with its sequence as a band, against time in UTC; lines at zero and at the margin.

    Looks at which the effect was hidden leave a gap.
    """
    figure = go.Figure()
    ordered = sorted(verdicts, key=lambda one: one.at)
    drawn: list[EffectOut] = []
    for arm in plan.arms[1:]:
        looks = [(one, _of(one, arm.variant)) for one in ordered]
        known = [(one, effect) for one, effect in looks if effect is not None and effect.change is not None]
        if not known:
            continue
        drawn += [effect for _, effect in known[len(known) // 2 :]]
        keep = thin(np.array([one.at.timestamp() for one, _ in known]), np.array([effect.change for _, effect in known], float))
        kept = [known[k] for k in keep]
        number = arm.model_version - 1  # A version looks the same in all figures.
        colour, x = pick(palette.series, number), [naive_utc(one.at) for one, _ in kept]
        _add_band(figure, x, [effect for _, effect in kept], colour)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[100 * (effect.change or 0.0) for _, effect in kept],
                customdata=[[_end(effect.low), _end(effect.high), one.units] for one, effect in kept],
                name=arm_words(plan, arm.variant),
                mode="lines+markers" if len(kept) <= 30 else "lines",
                line={"color": colour, "dash": pick(DASHES, number), "width": 2},
                marker={"symbol": pick(SYMBOLS, number), "size": 6},
                hovertemplate=f"{arm_letter(plan, arm.variant)} %{{y:+.1f}} % (%{{customdata[0]}} to %{{customdata[1]}}) · "
                "%{customdata[2]:,d} units<extra></extra>",
            )
        )
    figure.add_hline(y=0, line={"color": palette.muted, "width": 1})
    figure.add_hline(
        y=100 * plan.margin,
        line={"color": palette.muted, "dash": "dash", "width": 1},
        annotation={"text": f"margin {100 * plan.margin:g} %", "font": {"color": palette.muted, "size": 11}},
        annotation_position="top left",
    )
    time_axis(figure)
    at_least_a_minute(figure, [one.at for one in ordered if any(effect.change is not None for effect in one.effects)])
    figure.update_yaxes(
        title_text=f"Change of {METRICS[plan.metric]} (%), {level_words(plan)} sequence", zeroline=False, range=_reach(plan, drawn)
    )
    figure.update_layout(showlegend=True, legend_traceorder="normal")
    return finished(figure, palette, height=320, unified=True)


def _add_band(figure: go.Figure, x: Sequence[object], effects: Sequence[EffectOut], colour: str) -> None:
    """The sequence; an end that is not known yet lies far outside."""
    for end, fill in (("low", None), ("high", "tonexty")):
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[100 * ((-1.0 if end == "low" else 10.0) if getattr(one, end) is None else getattr(one, end)) for one in effects],
                mode="lines",
                line={"color": rgba(colour, 0.45), "width": 1},
                fill=fill,
                fillcolor=rgba(colour, 0.14),
                hoverinfo="skip",
                showlegend=False,
            )
        )


def _of(verdict: VerdictOut, variant: str) -> EffectOut | None:
    return next((one for one in verdict.effects if one.variant == variant), None)


def _end(change: float | None) -> str:
    return "no bound" if change is None else f"{100 * change:+.1f} %"


def _reach(plan: ExperimentPlan, effects: Sequence[EffectOut]) -> list[float]:
    """Ends of the axis, per cent, for the newer half of each treatment: the first sequences are endlessly wide."""
    ends = [end for one in effects for end in (one.low, one.high) if end is not None]
    low, high = min([*ends, -LEAST_REACH]), max([*ends, plan.margin, LEAST_REACH])
    room = 0.15 * (min(high, MOST_REACH) - max(low, -MOST_REACH))
    return [100 * (max(low, -MOST_REACH) - room), 100 * (min(high, MOST_REACH) + room)]
