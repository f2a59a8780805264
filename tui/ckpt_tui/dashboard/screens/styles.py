"""How the main screen is laid out at each size."""

from __future__ import annotations

NARROW_WIDTH, NARROW_HEIGHT = 72, 18
WIDE_WIDTH, WIDE_HEIGHT = 110, 28
HUGE_WIDTH = 180

MAIN_CSS = """
Panes {
    & > #header { background: $panel; }
    & > #banner { display: none; background: $warning 20%; }
    &.-banner > #banner { display: block; }
    &.-filtering > #keys { display: none; }
    & > #body { layout: grid; height: 1fr; grid-size: 2 2; grid-columns: 2fr 3fr; grid-rows: 3fr 2fr; }
    & > #body > * {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        border-subtitle-color: $text-accent;
    }
    & > #body > *:focus {
        border: round $accent;
        border-title-color: $text-accent;
        border-title-style: bold;
    }
    & #details { padding: 0 1; }
    &.-huge > #body { grid-size: 3 2; grid-columns: 2fr 4fr 2fr; }
    &.-huge #runs { row-span: 2; }
    &.-huge #details { row-span: 2; }
    &.-medium > #body { grid-columns: 30 1fr; }
    &.-medium #runs { row-span: 2; }
    &.-medium #details { display: none; }
    &.-medium.-at-details #details { display: block; }
    &.-medium.-at-details #curve { display: none; }
    &.-narrow > #body, &.-zoomed > #body { grid-size: 1 1; grid-columns: 1fr; grid-rows: 1fr; }
    &.-narrow > #body > *, &.-zoomed > #body > * { display: none; row-span: 1; }
    &.-narrow.-at-runs #runs, &.-zoomed.-at-runs #runs { display: block; row-span: 1; }
    &.-narrow.-at-checkpoints #checkpoints, &.-zoomed.-at-checkpoints #checkpoints { display: block; row-span: 1; }
    &.-narrow.-at-curve #curve, &.-zoomed.-at-curve #curve { display: block; row-span: 1; }
    &.-narrow.-at-details #details, &.-zoomed.-at-details #details { display: block; row-span: 1; }
}
"""


def layout_class(width: int, height: int) -> str:
    """The layout for a terminal: one pane, two columns, all four panes, or three columns."""
    if width < NARROW_WIDTH or height < NARROW_HEIGHT:
        return "-narrow"
    if width < WIDE_WIDTH or height < WIDE_HEIGHT:
        return "-medium"
    return "-huge" if width >= HUGE_WIDTH else "-wide"
