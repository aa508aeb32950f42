"""Figures of the A/B tests page. No Streamlit here."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from console.ab.words import METRICS, arm_letter, arm_words, level_words, signed
from console.drawing import DASHES, SYMBOLS, at_least_a_minute, finished, naive_utc, pick, rgba, short, thin, time_axis
from console.palette import Palette
from trajops.contracts.experiments import ArmErrorsOut, EffectOut, ExperimentPlan, ExperimentSliceOut, VerdictOut

# How far the axis reaches, in margins or expected changes, and at most, as a relative change.
TIMES = 3.0
MOST_REACH = 1.0
MOST_MARKS = 40
LINE_PX = 14
# Of units, whose errors the axis reaches.
MOST_SHARE = 0.98


def effect_over_time(plan: ExperimentPlan, verdicts: Sequence[VerdictOut], palette: Palette) -> go.Figure:
    """Relative change of the metric in per cent, with its sequence as a band, against time in UTC; lines at zero and at the margin.

    Looks at which the effect was hidden leave a gap. The first sequences are far wider than any effect: what lies beyond the axis is marked
    at its end, and says how far it reaches.
    """
    figure = go.Figure()
    ordered = sorted(verdicts, key=lambda one: one.at)
    known = {arm.variant: _known(ordered, arm.variant) for arm in plan.arms[1:]}
    low, high = _reach(plan, [looks[-1][1] for looks in known.values() if looks])
    for arm in plan.arms[1:]:
        looks = known[arm.variant]
        if not looks:
            continue
        keep = thin(np.array([one.at.timestamp() for one, _ in looks]), np.array([effect.change for _, effect in looks], float))
        kept = [looks[k] for k in keep]
        number = arm.model_version - 1  # A version looks the same in all figures.
        colour, x = pick(palette.series, number), [naive_utc(one.at) for one, _ in kept]
        _add_band(figure, x, [effect for _, effect in kept], colour)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[100 * (effect.change or 0.0) for _, effect in kept],
                customdata=[[signed(effect.low), signed(effect.high), one.units] for one, effect in kept],
                name=arm_words(plan, arm.variant),
                mode="lines+markers" if len(kept) <= 30 else "lines",
                line={"color": colour, "dash": pick(DASHES, number), "width": 2},
                marker={"symbol": pick(SYMBOLS, number), "size": 6},
                hovertemplate=f"{arm_letter(plan, arm.variant)} %{{y:+.1f}} % (%{{customdata[0]}} to %{{customdata[1]}}) · "
                "%{customdata[2]:,d} units<extra></extra>",
            )
        )
        _mark_beyond(figure, kept, low, high, colour)
    _spread(figure)
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
        title_text=f"Change of {METRICS[plan.metric]} (%), {level_words(plan)} sequence", zeroline=False, range=[100 * low, 100 * high]
    )
    figure.update_layout(showlegend=True, legend_traceorder="normal")
    return finished(figure, palette, height=320, unified=True)


def slice_effects(plan: ExperimentPlan, slices: Sequence[ExperimentSliceOut], palette: Palette, metric: str) -> go.Figure:
    """Relative change of each slice in per cent, with its interval, one row each; treatments beside each other.

    Slices with too few units for an interval are left out.
    """
    figure = go.Figure()
    shown = [one for one in slices if one.change is not None]
    values = list(dict.fromkeys(one.value for one in shown))
    ends = [end for one in shown for end in (one.low, one.high) if end is not None]
    reach = min(MOST_REACH, 1.1 * max((abs(end) for end in ends), default=plan.margin))
    variants = [arm for arm in plan.arms[1:] if any(one.variant == arm.variant for one in shown)]
    for place, arm in enumerate(variants):
        own = [one for one in shown if one.variant == arm.variant]
        number = arm.model_version - 1
        beside = 0.5 * ((place + 0.5) / len(variants) - 0.5)
        change = [100 * (one.change or 0.0) for one in own]
        figure.add_trace(
            go.Scatter(
                x=change,
                y=[values.index(one.value) + beside for one in own],
                customdata=[[signed(one.low), signed(one.high), one.control_units + one.treatment_units] for one in own],
                name=arm_words(plan, arm.variant),
                mode="markers",
                marker={"symbol": pick(SYMBOLS, number), "size": 8, "color": pick(palette.series, number)},
                error_x={
                    "array": [100 * (MOST_REACH if one.high is None else one.high) - at for one, at in zip(own, change, strict=True)],
                    "arrayminus": [at - 100 * (-MOST_REACH if one.low is None else one.low) for one, at in zip(own, change, strict=True)],
                    "color": rgba(pick(palette.series, number), 0.6),
                    "thickness": 1.5,
                },
                hovertemplate="%{x:+.1f} % (%{customdata[0]} to %{customdata[1]}) · %{customdata[2]:,d} units<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": palette.muted, "width": 1})
    figure.update_xaxes(
        title_text=f"Change of {metric} (%), {level_words(plan)} interval of each by itself",
        zeroline=False,
        range=[-100 * reach, 100 * reach],
    )
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(values))),
        ticktext=[short(value, 24) for value in values],
        range=[len(values) - 0.5, -0.5],
        zeroline=False,
    )
    figure.update_layout(showlegend=len(variants) > 1)
    return finished(figure, palette, height=90 + 30 * max(1, len(values)) * max(1, len(variants)))


def unit_errors(plan: ExperimentPlan, shares: Sequence[float], arms: Sequence[ArmErrorsOut], palette: Palette) -> go.Figure:
    """Share of units in per cent whose error is at most so much, a line an arm; the largest errors may lie beyond the axis.

    Arms with too few units are left out.
    """
    figure = go.Figure()
    scale, sign = (100, " %") if plan.metric == "miss_rate" else (1, " m")
    versions = {arm.variant: arm.model_version for arm in plan.arms}
    is_told_apart = len(set(versions.values())) == len(versions)
    for place, one in enumerate(arms):
        if not one.errors:
            continue
        number = versions[one.variant] - 1 if is_told_apart else place
        figure.add_trace(
            go.Scatter(
                x=[scale * error for error in one.errors],
                y=[100 * share for share in shares],
                name=arm_words(plan, one.variant),
                mode="lines",
                line={"color": pick(palette.series, number), "dash": pick(DASHES, number), "width": 2},
                hovertemplate=f"{arm_letter(plan, one.variant)} %{{y:.0f}} % of {one.units:,d} units: at most "
                f"%{{x:.3g}}{sign}<extra></extra>",
            )
        )
    farthest = [scale * error for one in arms for error, share in zip(one.errors, shares, strict=False) if share <= MOST_SHARE]
    figure.update_xaxes(
        title_text=f"{METRICS[plan.metric]} of a unit ({sign.strip()})", range=[0, 1.05 * max(farthest, default=1.0) or 1.0]
    )
    figure.update_yaxes(title_text="Units (%)", range=[0, 102])
    figure.update_layout(showlegend=True, legend_traceorder="normal")
    return finished(figure, palette, height=300)


def _known(verdicts: Sequence[VerdictOut], variant: str) -> list[tuple[VerdictOut, EffectOut]]:
    """The looks that know an effect, with it."""
    looks = [(one, _of(one, variant)) for one in verdicts]
    return [(one, effect) for one, effect in looks if effect is not None and effect.change is not None]


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


def _mark_beyond(figure: go.Figure, looks: Sequence[tuple[VerdictOut, EffectOut]], low: float, high: float, colour: str) -> None:
    """Marks at the ends of the axis where a sequence reaches beyond them, and once how far."""
    for name, end, symbol in (("high", high, "triangle-up"), ("low", low, "triangle-down")):
        beyond = [(one, effect) for one, effect in looks if _is_beyond(effect, name, end)]
        if not beyond:
            continue
        farthest = max(beyond, key=lambda look: _distance(look[1], name))
        at = 100 * (end - 0.02 * (high - low) * (1 if name == "high" else -1))
        step = -(-len(beyond) // MOST_MARKS)
        figure.add_trace(
            go.Scatter(
                x=[naive_utc(one.at) for one, _ in beyond[::step]],
                y=[at] * len(beyond[::step]),
                mode="markers",
                marker={"symbol": symbol, "size": 7, "color": colour},
                hoverinfo="skip",
                showlegend=False,
            )
        )
        figure.add_annotation(
            x=naive_utc(beyond[0][0].at),
            y=at,
            text=f"beyond the axis: {_as_far(getattr(farthest[1], name))}",
            font={"color": colour, "size": 11},
            showarrow=False,
            xanchor="left",
            yanchor="top" if name == "high" else "bottom",
            yshift=-6 if name == "high" else 6,
        )


def _spread(figure: go.Figure) -> None:
    """Where several sequences reach beyond one end of the axis, what is said of them stands in lines of its own."""
    for edge in ("top", "bottom"):
        for line, one in enumerate(one for one in figure.layout.annotations if one.yanchor == edge):
            one.yshift += (-LINE_PX if edge == "top" else LINE_PX) * line


def _as_far(end: float | None) -> str:
    return "no bound" if end is None else f"to {signed(end)}"


def _is_beyond(effect: EffectOut, name: str, end: float) -> bool:
    found = getattr(effect, name)
    return found is None or (found > end if name == "high" else found < end)


def _distance(effect: EffectOut, name: str) -> float:
    found = getattr(effect, name)
    return np.inf if found is None else abs(float(found))


def _of(verdict: VerdictOut, variant: str) -> EffectOut | None:
    return next((one for one in verdict.effects if one.variant == variant), None)


def _reach(plan: ExperimentPlan, newest: Sequence[EffectOut]) -> tuple[float, float]:
    """Ends of the axis, relative changes: some times what is looked for, or the newest sequences, whichever is wider."""
    looked_for = TIMES * max(plan.margin, abs(plan.expected_change))
    ends = [end for one in newest for end in (one.low, one.high, one.change) if end is not None]
    low, high = max(min([*ends, -looked_for]), -MOST_REACH), min(max([*ends, looked_for]), MOST_REACH)
    room = 0.1 * (high - low)
    return low - room, high + room
