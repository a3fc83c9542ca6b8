"""Charts: figures over time, with what was changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from nicegui import events, ui

from pylae.dashboard.figures.history import Hour

_MOST = 240
"""Most points of a line. Of longer series, each point is the worst of several."""
_T = TypeVar("_T")
_FAINT = "#758196"
_LINES = {"requests/s": "#3987e5", "5xx/s": "#e5484d", "p50": "#30a46c", "p99": "#d97706"}


class TimeChart:
    """Requests and errors per second above, durations below. A click on the mark of a change calls `chosen`."""

    def __init__(self, chosen: Callable[[str], None], label: str) -> None:
        """`chosen` is told the name of the mark."""
        self._chosen = chosen
        self.chart = ui.echart(self._options(), on_point_click=self._clicked).classes("w-full time-chart")
        self.chart.props(f'role=img aria-label="{label}"')
        self._shown: tuple[Any, ...] = ()

    def show(self, told: Hour, marks: Sequence[tuple[float, str]]) -> None:
        """Shows the last hour, and marks with their times and names."""
        shown = (told.times[-1:], len(told.times), tuple(marks))
        if shown == self._shown:
            return
        self._shown = shown
        times = _thin(told.times, max)
        lines = (
            _thin(told.rates, _worst), _thin(told.errors, _worst), _thin(told.p50, _worst), _thin(told.p99, _worst),
        )  # fmt: skip
        series = self.chart.options["series"]
        for one, values, scale in zip(series, lines, (1, 1, 1000, 1000), strict=True):
            one["data"] = [
                [round(at * 1000), None if value is None else round(value * scale, 3)]
                for at, value in zip(times, values, strict=True)
            ]
        visible = [{"xAxis": round(at * 1000), "name": name} for at, name in marks if times and at >= times[0]]
        for index in (0, 2):
            series[index]["markLine"] = _marks(visible, labelled=index == 0)
        self.chart.update()

    def _clicked(self, event: events.EChartPointClickEventArguments) -> None:
        if event.component_type == "markLine" and event.name:
            self._chosen(event.name)

    def _options(self) -> dict[str, Any]:
        axis = {"axisLine": {"lineStyle": {"color": _FAINT}}, "axisLabel": {"color": _FAINT, "hideOverlap": True}}
        faint = {"splitLine": {"lineStyle": {"color": _FAINT, "opacity": 0.25}}}
        return {
            "animation": False,
            "aria": {"enabled": True},
            "grid": [
                {"left": 56, "right": 16, "top": 34, "height": 90},
                {"left": 56, "right": 16, "top": 150, "height": 90},
            ],
            "legend": {"top": 0, "left": 0, "itemWidth": 14, "textStyle": {"color": _FAINT}},
            "tooltip": {"trigger": "axis", "confine": True},
            "axisPointer": {"link": [{"xAxisIndex": "all"}]},
            "xAxis": [
                {"type": "time", "gridIndex": 0, **axis, "axisLabel": {"show": False}},
                {"type": "time", "gridIndex": 1, **axis},
            ],
            "yAxis": [
                {"type": "value", "gridIndex": 0, "min": 0, **axis, **faint, "splitNumber": 3},
                {"type": "value", "gridIndex": 1, "min": 0, "name": "ms", **axis, **faint, "splitNumber": 3},
            ],
            "series": [
                {
                    "name": name,
                    "type": "line",
                    "showSymbol": False,
                    "xAxisIndex": index // 2,
                    "yAxisIndex": index // 2,
                    "lineStyle": {"width": 1.5, "color": colour},
                    "itemStyle": {"color": colour},
                    "areaStyle": {"opacity": 0.12} if index in (0, 1) else None,
                    "data": [],
                }
                for index, (name, colour) in enumerate(_LINES.items())
            ],
        }


class Spark:
    """A small line without axes."""

    def __init__(self, label: str, colour: str = "#3987e5") -> None:
        self.chart = ui.echart(
            {
                "animation": False,
                "grid": {"left": 0, "right": 0, "top": 2, "bottom": 2},
                "xAxis": {"type": "category", "show": False, "boundaryGap": False},
                "yAxis": {"type": "value", "show": False, "min": 0},
                "series": [
                    {
                        "type": "line", "showSymbol": False, "silent": True, "data": [],
                        "lineStyle": {"width": 1.5, "color": colour}, "areaStyle": {"opacity": 0.15, "color": colour},
                    }
                ],
            }
        ).classes("spark")  # fmt: skip
        self.chart.props("role=img").props["aria-label"] = label
        self._shown: list[float | None] | None = None

    def show(self, values: Sequence[float | None]) -> None:
        """Shows these values."""
        thin = [None if value is None else round(value, 4) for value in _thin(list(values), _worst, 60)]
        if thin != self._shown:
            self._shown = thin
            self.chart.options["series"][0]["data"] = thin
            self.chart.update()


def _marks(visible: Sequence[dict[str, Any]], *, labelled: bool) -> dict[str, Any]:
    return {
        "symbol": ["none", "pin" if labelled else "none"],
        "symbolSize": 18,
        "data": list(visible),
        "lineStyle": {"color": "#a855f7", "type": "dashed", "width": 1.5},
        "label": {"show": False},
    }


def _worst(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _thin(values: Sequence[_T], one: Callable[[Sequence[_T]], _T], most: int = _MOST) -> list[_T]:
    step = -(-len(values) // most) or 1
    return [one(values[index : index + step]) for index in range(0, len(values), step)]
