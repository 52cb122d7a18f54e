"""Dashboards as Grafana reads them: the only module that knows Grafana's own SDK, and how things look.

Grafana answers `/public/` with files of its own folder of that name: where docs/ is mounted there as `fedkseed`, the links
of every panel lead to the page that explains it.
"""

import json

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as built
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.dashboard import Dashboard, Panel, Query, Row

DOCS = "/public/fedkseed"
TAG = "fedkseed"
WINDOWS = "5m,15m,1h,6h,1d,7d"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

AnyPanel = timeseries.Panel | stat.Panel


def text(dashboard: Dashboard) -> str:
    """The file of a dashboard."""
    return json.dumps(_dashboard(dashboard).build(), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _dashboard(dashboard: Dashboard) -> built.Dashboard:
    made = (
        built.Dashboard(f"fedkseed: {dashboard.title}")
        .uid(f"fedkseed-{dashboard.name}")
        .description(dashboard.meaning)
        .tags([TAG])
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .link(
            built.DashboardLink("Federation")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .include_vars(True)
        )
        .link(_page("What is measured", "metrics.md"))
        .link(_page("Alerts", "operating.md#alerts"))
    )
    for variable in _variables(dashboard):
        made = made.with_variable(variable)
    number = 0
    for row in dashboard.rows:
        made = made.with_row(_row(row, number))
        number += 1
        for panel in row.panels:
            made = made.with_panel(_panel(panel, number))
            number += 1
    return made


def _row(row: Row, number: int) -> built.Row:
    return built.Row(row.title).id(number + 1)


def _page(title: str, see: str) -> built.DashboardLink:
    return built.DashboardLink(title).type(models.DashboardLinkType.LINK).url(f"{DOCS}/{see}").icon("doc").target_blank(True)


def _variables(dashboard: Dashboard) -> list[built.DatasourceVariable | built.QueryVariable | built.IntervalVariable]:
    chosen = models.VariableOption(selected=True, text="1h", value="1h")
    window = built.IntervalVariable("window").label("Window").description("Time over which events of rounds are counted.")
    made: list[built.DatasourceVariable | built.QueryVariable | built.IntervalVariable] = [
        built.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        _label("federation", "Federation", "fedkseed_build_info"),
    ]
    if dashboard.instances:
        made.append(_label("instance", "Instance", f'up{{job=~"{dashboard.instances}", federation=~"$federation"}}'))
    return [*made, window.values(WINDOWS).current(chosen)]


def _label(name: str, title: str, series: str) -> built.QueryVariable:
    """The values of a label; all of them, and series without the label too, until one is chosen."""
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return (
        built.QueryVariable(name)
        .label(title)
        .datasource(SOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def _panel(panel: Panel, number: int) -> AnyPanel:
    made = _bare(panel).id(number + 1).title(panel.title).description(panel.meaning).datasource(SOURCE)
    made = made.unit(panel.unit).span(panel.width).height(panel.height).links([_page("Read on", panel.see)])
    made = made.thresholds(
        built.ThresholdsConfig().steps([models.Threshold(value=at, color=colour) for at, colour in panel.steps])
    )
    if panel.names:
        results = {value: models.ValueMappingResult(text=word, color=colour) for value, (word, colour) in panel.names.items()}
        made = made.mappings([models.ValueMap(options=results)])
    for name, colour in panel.colours.items():
        fixed = models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        made = made.override_by_name(name, [fixed])
    if panel.decimals is not None:
        made = made.decimals(panel.decimals)
    if panel.low is not None:
        made = made.min(panel.low)
    if panel.high is not None:
        made = made.max(panel.high)
    for i, query in enumerate(panel.queries):
        made = made.with_target(_target(panel, query, chr(ord("A") + i)))
    return made


def _bare(panel: Panel) -> AnyPanel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    match panel.kind:
        case "number" | "word":
            word = looks.BigValueTextMode.NAME if panel.kind == "word" else looks.BigValueTextMode.AUTO
            return (
                stat.Panel()
                .reduce_options(last)
                .text_mode(word)
                .color_mode(looks.BigValueColorMode.VALUE)
                .graph_mode(looks.BigValueGraphMode.NONE)
            )
        case "lines" | "steps" | "stacked":
            return _lines(panel)


def _lines(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .line_width(1 if panel.kind == "stacked" else 2)
        .show_points(looks.VisibilityMode.NEVER)
        .fill_opacity(60 if panel.kind == "stacked" else 0)
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    )
    if panel.kind == "steps":
        made = made.line_interpolation(looks.LineInterpolation.STEP_AFTER)
    if panel.kind == "stacked":
        made = made.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if len(panel.steps) > 1:
        made = made.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED))
    return made


def _target(panel: Panel, query: Query, name: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(name).datasource(SOURCE)
    return made.range() if panel.kind in ("lines", "steps", "stacked") else made.instant()
