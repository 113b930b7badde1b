"""The page at `/`: what is running, and how to talk to it. Nothing to build, nothing to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template
from typing import Final

from awaken.domain.agent import AgentSpec


def curl_line(base: str, agent_id: str) -> str:
    """A command that starts a run and shows its stream."""
    return (
        f"curl -N {base}/v1/runs -H 'content-type: application/json' \\\n"
        f'  -d \'{{"agent_id": "{agent_id}", '
        '"messages": [{"role": "user", "content": "tokens=40 Hello"}]}\''
    )


def start_page(version: str, base: str, agents: Sequence[AgentSpec]) -> str:
    """The whole page."""
    rows = "".join(
        f"<tr><td><code>{escape(spec.agent_id)}</code></td><td>{escape(spec.description)}</td></tr>"
        for spec in agents
    )
    agent_id = talkative([spec.agent_id for spec in agents])
    return _PAGE.substitute(
        version=escape(version),
        agents=rows,
        start=escape(curl_line(base, agent_id)),
        resume=escape(f"curl -N {base}/v1/runs/RUN_ID/stream -H 'last-event-id: 12'"),
        threads=escape(f"curl {base}/v1/threads"),
        explain=escape(f"curl {base}/v1/runs/RUN_ID/explain"),
    )


def talkative(names: Sequence[str]) -> str:
    """The agent to show: the demo's storyteller, whose stream can be watched, else the first."""
    return "storyteller" if "storyteller" in names else (*names, "default")[0]


_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Awaken</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
pre { padding: .75rem 1rem; overflow-x: auto; border: 1px solid #8886; border-radius: .5rem; }
td { padding: .2rem 1.5rem .2rem 0; vertical-align: top; }
</style>
</head>
<body>
<h1>Awaken $version is running</h1>
<p>Every run is durable, every stream resumes. The API is described at
<a href="docs">/docs</a> and <a href="openapi.json">/openapi.json</a>; health is at
<a href="health">/health</a>, metrics are at <a href="metrics">/metrics</a>.</p>
<h2>Agents</h2>
<table>$agents</table>
<h2>Talk to one</h2>
<pre>$start</pre>
<p>Each event has an id. Go on where you stopped, while the run lives or long after:</p>
<pre>$resume</pre>
<p>What was said, and why a run is where it is:</p>
<pre>$threads
$explain</pre>
</body>
</html>
""")
