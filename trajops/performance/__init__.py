"""How well predictions do: figures with intervals over agents, estimates before truth, and intervals that are put right."""
