"""CPU cost of the dashboard at 100 000 checkpoints; prints one JSON line.

first_paint_ms: a fresh process from its start to the first painted screen, imports included
key_ms: one move of the cursor, painted · filter_ms: the dearest letter of a word typed into the filter, painted
expression_total_ms: the six letters of `step>5`, the work of their threads included · chart_ms: one redraw of a curve

Each is the least of several: other processes on the machine can only add to it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

ROWS = 100_000
FIRST_PAINT = """
import time
from ckpt_tui.dashboard.app import Dashboard
from ckpt_tui.dashboard.feeds.scripted import ScriptedFeed
app = Dashboard(ScriptedFeed())
def painted():
    print(time.process_time() * 1000)
    app.exit(0)
app.main.call_after_refresh(painted)
app.run(headless=True, size=(140, 40))
"""


def first_paint_ms(repeats: int = 7) -> float:
    """CPU ms of a fresh process until its first paint."""
    found = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", FIRST_PAINT], capture_output=True, text=True, check=True)
        found.append(float(done.stdout.split()[-1]))
    return min(found)


async def in_process() -> dict[str, float]:
    """CPU ms of keys on a table of 100 000 rows."""
    from ckpt_tui.dashboard.app import Dashboard
    from ckpt_tui.dashboard.feeds.scripted import showcase

    app = Dashboard(showcase(time.time(), runs=1, checkpoints=ROWS))
    async with app.run_test(size=(140, 40)) as pilot:
        while len(app.main.checkpoints_table.rows) < ROWS:
            await pilot.pause(0.05)
        await pilot.press("2")

        async def cost(key: str, count: int) -> float:
            await pilot.pause(0.3)
            before = time.process_time()
            await pilot.press(*[key] * count)
            return (time.process_time() - before) * 1000 / count

        async def typed(letters: str) -> float:
            found = []
            for letter in letters:
                await pilot.pause(0.3)
                before = time.process_time()
                await pilot.press(letter)
                found.append((time.process_time() - before) * 1000)
            return max(found)

        key = min([await cost("j", 20) for _ in range(3)])
        page = min([await cost("ctrl+d", 10) for _ in range(3)])
        words = []
        for _ in range(3):
            await pilot.press("slash")
            words.append(await typed("step-0"))
            await pilot.press("escape")
        await pilot.press("slash")
        before = time.process_time()
        await pilot.press(*"step>5")
        await pilot.pause(0.1)
        await app.workers.wait_for_complete()
        expression = (time.process_time() - before) * 1000
        await pilot.press("escape")
        chart = app.main.chart
        points = [(i, 1 / (i + 1)) for i in range(ROWS)]
        before = time.process_time()
        chart.show(points, [], log=False)
        chart.render_line(0)
        drawn = (time.process_time() - before) * 1000
    return {
        "key_ms": key,
        "page_ms": page,
        "filter_ms": min(words),
        "expression_total_ms": expression,
        "chart_ms": drawn,
    }


def main() -> None:
    """Measures and prints."""
    found = {"rows": ROWS, "first_paint_ms": first_paint_ms(), **asyncio.run(in_process())}
    print(json.dumps({name: round(value, 1) for name, value in found.items()}))


if __name__ == "__main__":
    main()
